import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Row } from '../rows';
import type { NotebookState } from '../state';
import { stateMeaning, stateName } from './glyphs';
import { CellLink, Chip, Chips, Glyph, Hint, Section } from './parts';

const optionId = (id: string): string => `jp-mlops-cell-${id}`;

/** The notebook's code cells: a click shows one, arrow keys move, Enter goes to it. */
export function Cells(props: {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element {
  const { state, trans } = props;
  const list = React.useRef<HTMLDivElement>(null);
  const reveal = React.useCallback((id: string) => void state.reveal(id), [state]);
  React.useEffect(() => {
    list.current
      ?.querySelector(`#${CSS.escape(optionId(state.selected))}`)
      ?.scrollIntoView({ block: 'nearest' });
  }, [state.selected]);
  return (
    <Section name="cells" title={trans.__('Cells')} count={state.rows.length}>
      {state.rows.length === 0 && <Hint text={trans.__('This notebook has no code cells.')} />}
      <div
        ref={list}
        className="jp-MlopsCells"
        role="listbox"
        tabIndex={0}
        aria-label={trans.__('Cells with their states')}
        aria-activedescendant={optionId(state.selected)}
        onKeyDown={event => {
          onKey(event, state);
        }}
      >
        {state.rows.map(row => (
          <CellRow
            key={row.id}
            row={row}
            selected={row.id === state.selected}
            reveal={reveal}
            trans={trans}
          />
        ))}
      </div>
    </Section>
  );
}

interface RowProps {
  readonly row: Row;
  readonly selected: boolean;
  readonly reveal: (id: string) => void;
  readonly trans: TranslationBundle;
}

const CellRow = React.memo(function CellRow({ row, selected, reveal, trans }: RowProps): React.JSX.Element {
  return (
    <div
      id={optionId(row.id)}
      className="jp-MlopsCell"
      role="option"
      aria-selected={selected}
      data-state={row.state}
      onClick={() => {
        reveal(row.id);
      }}
    >
      <Glyph outcome={row.state} label={stateName(row.state, trans)} />
      <span className="jp-MlopsCount">[{row.count || ' '}]</span>
      <code className="jp-MlopsLine" title={row.line}>
        {row.line}
      </code>
      {row.step !== '' && <Chip text={row.step} kind="step" />}
      {row.tags.map(tag => (
        <Chip key={tag} text={tag} kind="tag" />
      ))}
    </div>
  );
});

function onKey(event: React.KeyboardEvent, state: NotebookState): void {
  const place = state.rows.findIndex(row => row.id === state.selected);
  const last = state.rows.length - 1;
  const moves: Record<string, number> = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: last };
  const to = moves[event.key];
  if (to !== undefined) {
    event.preventDefault();
    state.select(state.rows[Math.min(Math.max(to, 0), last)]?.id ?? '');
  } else if (event.key === 'Enter') {
    event.preventDefault();
    void state.enter();
  }
}

/** The selected cell: its state in words, what it read and made, and the cells it stands on. */
export function SelectedCell(props: {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element {
  const { state, trans } = props;
  const row = state.rows.find(row => row.id === state.selected);
  return (
    <Section name="selected" title={trans.__('Selected cell')}>
      {row ? (
        <CellFacts row={row} state={state} trans={trans} />
      ) : (
        <Hint text={trans.__('Select a code cell.')} />
      )}
    </Section>
  );
}

function CellFacts(props: {
  readonly row: Row;
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element {
  const { row, state, trans } = props;
  const view = row.view;
  const sources = state.rows.filter(other => view?.upstream.includes(other.id));
  return (
    <div className="jp-MlopsFacts">
      <p className="jp-MlopsReason" data-outcome={row.state}>
        <Glyph outcome={row.state} />
        <span>
          <strong>{stateName(row.state, trans)}</strong> {reason(row, trans)}
        </span>
      </p>
      {view && (
        <dl>
          <dt>{trans.__('reads')}</dt>
          <dd>
            <Chips texts={view.reads} kind="name" none="–" />
          </dd>
          <dt>{trans.__('writes')}</dt>
          <dd>
            <Chips texts={view.writes} kind="name" none="–" />
          </dd>
          {sources.length > 0 && <dt>{trans.__('stands on')}</dt>}
          {sources.map(other => (
            <dd key={other.id}>
              <CellLink
                text={`[${other.count || ' '}] ${other.line}`}
                go={() => void state.reveal(other.id)}
              />
            </dd>
          ))}
        </dl>
      )}
    </div>
  );
}

/** The recorded reason is of the recorded state; an edit since then has its own. */
function reason(row: Row, trans: TranslationBundle): string {
  return (row.state === row.view?.state && row.reason) || stateMeaning(row.state, trans);
}
