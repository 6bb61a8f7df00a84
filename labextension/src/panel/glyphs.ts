import type { TranslationBundle } from '@jupyterlab/translation';

import type { CellState } from '../tokens';

/** A shape for each outcome: colour alone would leave some readers out. */
const GLYPHS: Readonly<Record<string, string>> = {
  fresh: '✓',
  passed: '✓',
  ran: '✓',
  stale: '●',
  edited: '✎',
  failed: '✗',
  error: '✗',
  interrupted: '✗',
  skipped: '↷',
  running: '…',
  'not run': '○'
};

export function glyph(outcome: string): string {
  return GLYPHS[outcome] ?? '·';
}

/** The state in the user's language. */
export function stateName(state: CellState, trans: TranslationBundle): string {
  switch (state) {
    case 'fresh':
      return trans.__('fresh');
    case 'stale':
      return trans.__('stale');
    case 'edited':
      return trans.__('edited');
    case 'failed':
      return trans.__('failed');
    case 'not run':
      return trans.__('not run');
  }
}

/** What the state means, for those whose reason the registry does not say. */
export function stateMeaning(state: CellState, trans: TranslationBundle): string {
  switch (state) {
    case 'fresh':
      return trans.__('Its results are of this source and of the values its cells now give.');
    case 'stale':
      return trans.__('Something it read has changed since it ran.');
    case 'edited':
      return trans.__('Its source has changed since it ran.');
    case 'failed':
      return trans.__('Its last run raised an error.');
    case 'not run':
      return trans.__('No run of this cell is recorded.');
  }
}

export function seconds(value: number): string {
  if (value >= 60) {
    return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  }
  return value < 0.0995 ? `${Math.round(value * 1000)} ms` : `${value.toPrecision(value < 10 ? 2 : 3)} s`;
}
