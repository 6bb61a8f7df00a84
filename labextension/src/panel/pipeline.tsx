import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { NotebookState } from '../state';
import type { Component, Run, Step } from '../tokens';
import { seconds } from './glyphs';
import { CellLink, Chips, Glyph, Hint, Section } from './parts';

interface Props {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}

/** The way to a cell of this notebook, if it is there. */
export function wayTo(state: NotebookState, id: string | undefined): (() => void) | undefined {
  return id !== undefined && state.rows.some(row => row.id === id) ? () => void state.reveal(id) : undefined;
}

/** The components the notebook's step cells make. */
export function Components({ state, trans }: Props): React.JSX.Element {
  const components = state.snapshot?.components ?? [];
  return (
    <Section name="components" title={trans.__('Components')} count={components.length}>
      {components.length === 0 && (
        <Hint text={trans.__('Begin a cell with %1, or give it the tag %2.', '%%step NAME', 'step:NAME')} />
      )}
      {components.map(component => (
        <ComponentItem key={component.name} component={component} state={state} trans={trans} />
      ))}
    </Section>
  );
}

function ComponentItem({
  component,
  state,
  trans
}: Props & { readonly component: Component }): React.JSX.Element {
  const last = component.last;
  return (
    <div className="jp-MlopsItem" data-name={component.name}>
      <div className="jp-MlopsHead">
        {last ? (
          <Glyph outcome={last.status} label={last.status} />
        ) : (
          <Glyph outcome="not run" label={trans.__('not run')} />
        )}
        <CellLink text={component.name} go={wayTo(state, component.cells[0])} />
        <span className="jp-MlopsCount">
          {trans._n('%1 cell', '%1 cells', component.cells.length)}
          {last?.status === 'ran' && ` · ${seconds(last.seconds)}`}
          {!component.promoted && ` · ${trans.__('not promoted')}`}
        </span>
      </div>
      <dl>
        <dt>{trans.__('takes')}</dt>
        <dd>
          <Chips texts={component.inputs} kind="name" none="–" />
        </dd>
        <dt>{trans.__('gives')}</dt>
        <dd>
          <Chips texts={component.outputs} kind="name" none="–" />
        </dd>
      </dl>
    </div>
  );
}

/** The newest headless run of this notebook's pipeline. */
export function LastRun({ state, trans }: Props): React.JSX.Element {
  const run = state.snapshot?.last_run;
  return (
    <Section name="run" title={trans.__('Last run')}>
      {run ? (
        <RunFacts run={run} state={state} trans={trans} />
      ) : (
        <Hint text={trans.__('Type %1 to run the components headless.', `%mlops run ${state.name}`)} />
      )}
    </Section>
  );
}

function RunFacts({ run, state, trans }: Props & { readonly run: Run }): React.JSX.Element {
  return (
    <div className="jp-MlopsItem" data-name={run.id}>
      <div className="jp-MlopsHead">
        <Glyph outcome={run.status} />
        <span className="jp-MlopsName">{`${run.pipeline} ${run.status}`}</span>
        {run.status !== 'running' && <span className="jp-MlopsCount">{seconds(run.seconds)}</span>}
      </div>
      <p className="jp-MlopsText">{trans.__('started %1', when(run.started))}</p>
      {run.error !== '' && <p className="jp-MlopsError">{run.error}</p>}
      {run.steps.map(step => (
        <StepLine key={step.component} step={step} state={state} />
      ))}
    </div>
  );
}

function StepLine({
  step,
  state
}: {
  readonly step: Step;
  readonly state: NotebookState;
}): React.JSX.Element {
  return (
    <div className="jp-MlopsStep" title={step.error || step.reason}>
      <Glyph outcome={step.status} label={step.status} />
      <CellLink text={step.component} go={wayTo(state, step.cell_id)} />
      <span className="jp-MlopsCount">{step.status === 'ran' ? seconds(step.seconds) : step.status}</span>
    </div>
  );
}

function when(started: string): string {
  return new Date(started).toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'short' });
}
