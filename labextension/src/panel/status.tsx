import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { NotebookState } from '../state';
import { Section } from './parts';

/** Whether the kernel tells us anything, whether it is kept, and how many cells need another look. */
export function Status(props: {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element {
  const { state, trans } = props;
  return (
    <Section name="status" title={trans.__('Status')}>
      <div className="jp-MlopsStatus">
        <Line kind={state.link.status === 'linked' ? 'good' : 'plain'} text={linkText(state, trans)} />
        {state.link.status === 'silent' && (
          <button className="jp-MlopsButton" onClick={() => void state.link.load()}>
            {trans.__('Load extension')}
          </button>
        )}
        {state.problem !== '' && (
          <Line kind="bad" text={trans.__('No answer from the server: %1', state.problem)} />
        )}
        <RecordingLine state={state} trans={trans} />
        {state.remembered && <Line kind="warn" text={rememberedText(state, trans)} />}
        {state.known && <Counts state={state} trans={trans} />}
      </div>
    </Section>
  );
}

function Line({
  kind,
  text
}: {
  readonly kind: 'good' | 'plain' | 'warn' | 'bad';
  readonly text: string;
}): React.JSX.Element {
  return (
    <p className="jp-MlopsStatusLine" data-kind={kind} role="status">
      {text}
    </p>
  );
}

function linkText(state: NotebookState, trans: TranslationBundle): string {
  switch (state.link.status) {
    case 'linked':
      return trans.__('Watching this notebook');
    case 'silent':
      return trans.__('Not watching: mlops_nb is not loaded in the kernel');
    case 'checking':
      return trans.__('Waiting for the kernel');
    case 'none':
      return trans.__('No Python kernel');
  }
}

function RecordingLine({
  state,
  trans
}: {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element | null {
  if (!state.recording || (state.link.status !== 'linked' && state.recording.on)) {
    return null;
  }
  return state.recording.on ? (
    <Line kind="good" text={trans.__('Recording')} />
  ) : (
    <Line kind="bad" text={trans.__('Recording is off: %1', state.recording.reason)} />
  );
}

function rememberedText(state: NotebookState, trans: TranslationBundle): string {
  return state.link.restarted
    ? trans.__('Kernel restarted: values are no longer in memory')
    : trans.__('Recorded in an earlier session: values are not in memory');
}

function Counts({
  state,
  trans
}: {
  readonly state: NotebookState;
  readonly trans: TranslationBundle;
}): React.JSX.Element {
  const count = (name: string): number => state.rows.filter(row => row.state === name).length;
  const parts = [
    trans.__('%1 stale', count('stale')),
    ...(count('edited') > 0 ? [trans.__('%1 edited', count('edited'))] : []),
    ...(count('failed') > 0 ? [trans.__('%1 failed', count('failed'))] : [])
  ];
  return <Line kind={count('stale') > 0 ? 'warn' : 'good'} text={parts.join(' · ')} />;
}
