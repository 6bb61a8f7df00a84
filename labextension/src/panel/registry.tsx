import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Api } from '../api';
import type { NotebookState } from '../state';
import type { Feature, Test } from '../tokens';
import { CellLink, Chip, Chips, Glyph, Hint, Section } from './parts';
import { wayTo } from './pipeline';

const SEARCH_MS = 200;

interface Props {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}

/** The project's feature views, with the registry's own search. */
export function Features({ state, trans, api }: Props & { readonly api: Api }): React.JSX.Element {
  const [query, setQuery] = React.useState('');
  const all = state.snapshot?.features ?? [];
  const found = useSearch(api, state.path, query.trim());
  const shown = found ?? all;
  return (
    <Section name="features" title={trans.__('Features')} count={all.length}>
      {all.length === 0 ? (
        <Hint text={trans.__('Begin a cell with %1.', '%%feature NAME --entity KEY --timestamp COLUMN')} />
      ) : (
        <input
          className="jp-MlopsSearch"
          type="search"
          value={query}
          placeholder={trans.__('Search features')}
          aria-label={trans.__('Search features')}
          onChange={event => {
            setQuery(event.target.value);
          }}
        />
      )}
      {all.length > 0 && shown.length === 0 && <Hint text={trans.__('No feature matches.')} />}
      {shown.map(feature => (
        <FeatureItem key={feature.name} feature={feature} state={state} trans={trans} />
      ))}
    </Section>
  );
}

/** The features that match `query`; null while there is no query or no answer. */
function useSearch(api: Api, path: string, query: string): readonly Feature[] | null {
  const [found, setFound] = React.useState<readonly Feature[] | null>(null);
  React.useEffect(() => {
    if (query === '') {
      setFound(null);
      return;
    }
    let current = true;
    const ask = async (): Promise<void> => {
      const answer = await api.features(path, query).catch(() => []);
      if (current) {
        setFound(answer);
      }
    };
    const timer = setTimeout(() => void ask(), SEARCH_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [api, path, query]);
  return found;
}

function FeatureItem({ feature, state, trans }: Props & { readonly feature: Feature }): React.JSX.Element {
  const rows =
    feature.rows === null
      ? trans.__('not computed')
      : trans._n('%2 row', '%2 rows', feature.rows, feature.rows.toLocaleString());
  return (
    <div className="jp-MlopsItem" data-name={feature.name}>
      <div className="jp-MlopsHead">
        <CellLink text={feature.name} go={wayTo(state, feature.cell_id)} />
        <span className="jp-MlopsCount">{rows}</span>
      </div>
      {feature.description !== '' && <p className="jp-MlopsText">{feature.description}</p>}
      <div className="jp-MlopsChips">
        {feature.entity.map(key => (
          <Chip key={key} text={key} kind="name" />
        ))}
        <Chips texts={feature.tags} kind="tag" />
        {feature.owner !== '' && <span className="jp-MlopsCount">{feature.owner}</span>}
      </div>
    </div>
  );
}

/** The notebook's tests with their last outcomes. */
export function Tests({ state, trans }: Props): React.JSX.Element {
  const tests = state.snapshot?.tests ?? [];
  return (
    <Section name="tests" title={trans.__('Tests')} count={tests.length}>
      {tests.length === 0 && <Hint text={trans.__('Begin a cell with %1.', '%%test data|model|infra')} />}
      {tests.map(test => (
        <TestItem key={test.name} test={test} state={state} trans={trans} />
      ))}
    </Section>
  );
}

function TestItem({ test, state, trans }: Props & { readonly test: Test }): React.JSX.Element {
  const outcome = test.outcome ?? 'not run';
  return (
    <div className="jp-MlopsItem" data-name={test.name} data-outcome={outcome}>
      <div className="jp-MlopsHead">
        <Glyph outcome={outcome} label={test.outcome ?? trans.__('not run')} />
        <CellLink text={test.name} go={wayTo(state, test.cell_id)} />
        <Chip text={test.kind} kind="tag" />
        {test.severity === 'warn' && <Chip text={trans.__('warns only')} kind="tag" />}
      </div>
      {outcome !== 'passed' && test.message !== '' && <p className="jp-MlopsError">{test.message}</p>}
    </div>
  );
}
