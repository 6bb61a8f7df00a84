"""Names of methods and functions of pandas, numpy and polars by what they do to columns."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _words(
    "astype fillna clip round abs add sub mul div truediv floordiv mod pow radd rsub rmul rdiv rtruediv rfloordiv rmod rpow eq ne lt gt le ge "
    "isna isnull notna notnull isin between replace combine_first convert_dtypes infer_objects cast fill_null fill_nan where mask copy clone "
    "is_null is_in"
)
ORDERED = _words("shift diff cumsum cumprod cummax cummin ffill bfill pct_change rank interpolate autocorr")
ROWS = _words(
    "head tail sample sort_index dropna drop_duplicates drop_nulls truncate reindex between_time at_time limit slice collect lazy sort_values "
    "nlargest nsmallest sort unique query swaplevel tz_localize tz_convert asfreq droplevel rename_axis"
)
REDUCE = _words("sum mean median std var min max prod product count nunique any all sem skew kurt kurtosis quantile mode first last item")
WINDOWS = frozenset({"rolling", "expanding", "ewm", "resample"})
PASSIVE = _words(
    "info describe plot hist boxplot to_csv to_parquet to_json to_excel to_pickle to_sql to_html to_markdown memory_usage items keys "
    "equals write_csv write_parquet"
)
POLARS_BY_NAME = _words(
    "sum mean min max median std var count first last n_unique sum_horizontal mean_horizontal max_horizontal "
    "min_horizontal concat_str concat_list coalesce struct corr"
)

BUILTINS = _words(
    "print len display type id isinstance repr str int float bool list tuple set dict sorted sum min max abs round any all zip map filter "
    "enumerate range iter next hasattr getattr callable hash format reversed"
)
NUMERIC = _words(
    "where log log1p log2 log10 exp expm1 sqrt cbrt square abs absolute fabs sign round around rint floor ceil trunc sin cos tan arcsin arccos "
    "arctan arctan2 sinh cosh tanh maximum minimum fmax fmin clip isnan isfinite isinf logical_and logical_or logical_not logical_xor add subtract "
    "multiply divide true_divide floor_divide power mod hypot deg2rad rad2deg radians degrees select array asarray"
)
CONVERSIONS = _words("to_datetime to_numeric to_timedelta cut qcut isna isnull notna notnull Categorical")
TEXT = _words("upper lower strip lstrip rstrip replace title capitalize swapcase removeprefix removesuffix startswith endswith isdigit split")
