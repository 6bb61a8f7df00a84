"""pandas frames and scikit-learn models: changes in place, copies, chains, fits."""

from lineage_case import Case

FRAME = "import pandas as pd\ndf = pd.DataFrame({'a': [1.0, 2.0, None], 'b': [3, 4, 5], 'k': ['x', 'y', 'x']})"

IN_PLACE = [
    Case(f"frame: {line}", (FRAME, "noise = 0", line, "r = df.copy()"), "r", "1 3 4")
    for line in (
        "df['c'] = df['b'] * 2",
        "df.loc[0, 'b'] = 9",
        "df.loc[df.b > 3, 'a'] = 0",
        "df.iloc[1, 1] = 8",
        "df.at[2, 'b'] = 7",
        "df.insert(0, 'z', 1)",
        "df.pop('k')",
        "del df['k']",
        "df.drop(columns='a', inplace=True)",
        "df.rename(columns={'a': 'A'}, inplace=True)",
        "df.sort_values('b', ascending=False, inplace=True)",
        "df.fillna({'a': 0}, inplace=True)",
        "df.set_index('k', inplace=True)",
        "df.reset_index(inplace=True)",
        "df.dropna(inplace=True)",
        "df.columns = ['p', 'q', 's']",
        "df.index = [7, 8, 9]",
        "df.update(pd.DataFrame({'b': [9, 9, 9]}))",
        "df.eval('c = a + b', inplace=True)",
        "df.query('b > 3', inplace=True)",
        "df[['a', 'b']] = 0",
        "df.loc[3] = [0.0, 1, 'z']",
        "df.b += 1",
    )
] + [
    Case("index name", (FRAME, "df.index.name = 'n'", "r = df.reset_index()"), "r", "1 2 3"),
    Case("attrs", (FRAME, "df.attrs['source'] = 'x'", "r = dict(df.attrs)"), "r", "1 2 3"),
    Case("a series' item", ("import pandas as pd\ns = pd.Series([1, 2])", "s.iloc[0] = 9", "r = s.copy()"), "r", "1 2 3"),
    Case("a series' name", ("import pandas as pd\ns = pd.Series([1, 2])", "s.name = 'n'", "r = s.to_frame()"), "r", "1 2 3"),
    Case("a frame changed in a function", (FRAME, "def add(d): d['c'] = 1", "add(df)", "r = df.copy()"), "r", "1 2 3 4"),
    Case("a frame in a dict", (FRAME, "tables = {'t': df}", "tables['t']['c'] = 1", "r = df.copy()"), "r", "1 2 3 4"),
    Case("a frame in an object", (FRAME, "class Data: pass\ndata = Data()\ndata.df = df", "df['c'] = 1", "r = data.df.copy()"), "r", "1 2 3 4"),
    Case("two names of a frame", (FRAME, "d = df", "d['c'] = 1", "r = df.copy()"), "r", "1 2 3 4"),
    Case("columns added in a loop", (FRAME, "for n in range(3):\n    df[f'c{n}'] = n", "r = df.copy()"), "r", "1 2 3"),
    Case(
        "a chain of changes",
        (FRAME, "df['c'] = df.b * 2", "df['d'] = df.c + 1", "df.drop(columns='c', inplace=True)", "r = df.d.sum()"),
        "r",
        "1 2 3 5",
        extra="4",
    ),
    Case(
        "a wide frame",
        ("import pandas as pd\nimport numpy as np\ndf = pd.DataFrame(np.zeros((10, 2000)))", "df.iloc[5, 1234] = 1", "r = df.to_numpy().sum()"),
        "r",
        "1 2 3",
        possible="1 2",
    ),
    Case(
        "a big frame",
        ("import pandas as pd\nimport numpy as np\ndf = pd.DataFrame({'a': np.zeros(2_000_000)})", "df.loc[1_234_567, 'a'] = 1", "r = df.a.sum()"),
        "r",
        "1 2 3",
        possible="1 2",
    ),
]

COPIES = [
    Case("a copy keeps", (FRAME, "b = df.copy()", "df['b'] = 0", "r = b['b'].sum()"), "r", "1 2 4"),
    Case("columns taken out keep", (FRAME, "b = df[['b']]", "df.loc[0, 'b'] = 100", "r = b['b'].sum()"), "r", "1 2 4"),
    Case("a column's change stays there", (FRAME, "s = df['b']", "s.iloc[0] = 100", "r = df['b'].sum()"), "r", "1 4"),
    Case("a filtered frame", (FRAME, "b = df[df.b > 3]", "df['b'] = 0", "r = b['b'].tolist()"), "r", "1 2 4"),
    Case(
        "a frame made of an array",
        ("import pandas as pd\nimport numpy as np\na = np.zeros(3)", "df = pd.DataFrame({'a': a})", "a[0] = 5", "r = df.a.sum()"),
        "r",
        "1 2 4",
    ),
    Case("head is looked at", (FRAME, "df.head()", "df.describe()", "df.groupby('k').size()", "r = df.b.sum()"), "r", "1 5"),
    Case("sort_values gives a new one", (FRAME, "df.sort_values('b')", "r = df.b.tolist()"), "r", "1 3"),
    Case("assign gives a new one", (FRAME, "e = df.assign(c=1)", "e['c'] = 2", "r = list(df.columns)"), "r", "1 4"),
    Case("iterated", (FRAME, "for _, row in df.iterrows():\n    row['b'] = 0", "r = df.b.sum()"), "r", "1 3"),
    Case("shape, len, info", (FRAME, "df.shape, len(df), df.dtypes", "r = df.b.sum()"), "r", "1 3"),
]

CHAINS = [
    Case(
        "merge and groupby",
        (
            FRAME,
            "other = pd.DataFrame({'k': ['x', 'y'], 'w': [10, 20]})",
            "m = df.merge(other, on='k')",
            "g = m.groupby('k').w.sum()",
            "df['b'] = 0",
            "r = g.to_dict()",
        ),
        "r",
        "1 2 3 4 6",
    ),
    Case("query with a variable", (FRAME, "low = 3", "r = df.query('b > @low')"), "r", "1 2 3"),
    Case("query with a variable in a function", (FRAME, "def pick(d, low): return d.query('b > @low')", "r = pick(df, 4)"), "r", "1 2 3"),
    Case("eval with a variable", (FRAME, "k2 = 10", "r = df.eval('b * @k2')"), "r", "1 2 3"),
    Case("apply with a global", (FRAME, "rate = 2", "def scale(v): return v * rate", "r = df.b.apply(scale).tolist()"), "r", "1 2 3 4", possible="2"),
    Case("pipe", (FRAME, "def top(d, n): return d.head(n)", "n = 2", "r = df.pipe(top, n)"), "r", "1 2 3 4"),
    Case("a groupby object", (FRAME, "g = df.groupby('k')", "total = g.b.sum()", "r = total.to_dict()"), "r", "1 2 3 4"),
    Case(
        "frames in a list",
        (FRAME, "parts = []", "for n in range(2):\n    parts.append(df.assign(n=n))", "r = pd.concat(parts).n.sum()"),
        "r",
        "1 2 3 4",
    ),
    Case(
        "a category",
        (FRAME, "df['k'] = df['k'].astype('category')", "df['k'] = df['k'].cat.add_categories(['z'])", "r = list(df.k.cat.categories)"),
        "r",
        "1 2 3 4",
    ),
    Case("the last frame of a name", (FRAME, "df = df.dropna()", "df = df[df.b > 3]", "r = len(df)"), "r", "1 2 3 4"),
    Case("numpy of a frame", (FRAME, "a = df.b.to_numpy().copy()", "a[0] = 50", "r = df.b.sum()"), "r", "1 4"),
    Case(
        "an accessor",
        (
            "import pandas as pd",
            (
                "@pd.api.extensions.register_dataframe_accessor('case')\nclass Acc:\n    def __init__(self, d): self.d = d\n"
                "    def n(self): return len(self.d)"
            ),
            "df = pd.DataFrame({'a': [1]})",
            "r = df.case.n()",
        ),
        "r",
        "1 2 3 4",
        possible="2",
    ),
]

START = "import numpy as np\nX = np.arange(8.0).reshape(4, 2)\ny = np.array([0.0, 1.0, 2.0, 5.0])"
MODELS = [
    Case(
        "fit and predict",
        (START, "from sklearn.linear_model import LinearRegression", "m = LinearRegression()", "m.fit(X, y);", "r = m.predict(X).round(6).tolist()"),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "fit again",
        (
            START,
            "from sklearn.linear_model import Ridge\nm = Ridge()",
            "m.fit(X, y);",
            "m.set_params(alpha=5.0);",
            "m.fit(X, y * 2);",
            "r = m.coef_.round(6).tolist()",
        ),
        "r",
        "1 2 4 5 6",
        extra="3",
    ),
    Case(
        "scaler",
        (
            START,
            "from sklearn.preprocessing import StandardScaler\nsc = StandardScaler()",
            "Z = sc.fit_transform(X)",
            "r = sc.transform(X[:1]).round(6).tolist()",
        ),
        "r",
        "1 2 3 4",
    ),
    Case(
        "pipeline",
        (
            START,
            "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.linear_model import Ridge",
            "p = make_pipeline(StandardScaler(), Ridge())",
            "p.fit(X, y);",
            "r = p.predict(X).round(6).tolist()",
        ),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "a step of a pipeline",
        (
            START,
            "from sklearn.pipeline import make_pipeline\nfrom sklearn.linear_model import Ridge\nridge = Ridge()",
            "p = make_pipeline(ridge)",
            "p.fit(X, y);",
            "r = ridge.coef_.round(6).tolist()",
        ),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "partial_fit",
        (
            START,
            "from sklearn.linear_model import SGDRegressor\nm = SGDRegressor(random_state=0)",
            "m.partial_fit(X, y);",
            "m.partial_fit(X, y);",
            "r = m.coef_.round(9).tolist()",
        ),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "models in a dict",
        (
            START,
            "from sklearn.linear_model import Ridge\nmodels = {'a': Ridge(), 'b': Ridge(2.0)}",
            "for m in models.values():\n    m.fit(X, y)",
            "r = models['b'].coef_.round(6).tolist()",
        ),
        "r",
        "1 2 3 4",
    ),
    Case(
        "a clone",
        (
            START,
            "from sklearn.linear_model import Ridge\nfrom sklearn.base import clone\nm = Ridge(3.0)",
            "c = clone(m)",
            "m.set_params(alpha=1.0);",
            "r = c.alpha",
        ),
        "r",
        "2 3 5",
    ),
    Case(
        "predict changes nothing",
        (
            START,
            "from sklearn.linear_model import LinearRegression\nm = LinearRegression().fit(X, y)",
            "m.predict(X)",
            "m.score(X, y)",
            "r = m.coef_.round(6).tolist()",
        ),
        "r",
        "1 2 5",
    ),
    Case(
        "a function as transformer",
        (
            START,
            "from sklearn.preprocessing import FunctionTransformer\nk = 3.0",
            "def scale(v): return v * k",
            "t = FunctionTransformer(scale)",
            "r = t.transform(X).tolist()",
        ),
        "r",
        "1 2 3 4 5",
        possible="2",
    ),
    Case(
        "a model of one's own",
        (
            START,
            (
                "from sklearn.base import BaseEstimator\nclass Mean(BaseEstimator):\n    def fit(self, X, y):\n        self.mean_ = y.mean()\n"
                "        return self"
            ),
            "m = Mean()",
            "m.fit(X, y);",
            "r = float(m.mean_)",
        ),
        "r",
        "1 2 3 4 5",
        possible="2",
    ),
    Case(
        "data changed after the fit",
        (START, "from sklearn.linear_model import LinearRegression\nm = LinearRegression().fit(X, y)", "X[0] = 100", "r = m.coef_.round(6).tolist()"),
        "r",
        "1 2 4",
    ),
    Case(
        "a tree of many arrays",
        (
            START,
            "from sklearn.tree import DecisionTreeRegressor\nm = DecisionTreeRegressor(random_state=0)",
            "m.fit(X, y);",
            "m.fit(X, y * 2);",
            "r = m.predict(X).tolist()",
        ),
        "r",
        "1 2 4 5",
        extra="3",
    ),
    Case(
        "cross validation",
        (
            START,
            "from sklearn.model_selection import cross_val_score\nfrom sklearn.linear_model import Ridge\nm = Ridge()",
            "s = cross_val_score(m, X, y, cv=2, scoring='neg_mean_absolute_error')",
            "r = s.round(6).tolist()",
        ),
        "r",
        "1 2 3 4",
    ),
]
