/** From a notebook's cells and what is known of them to the rows of the panel. Pure. */

import { crc32 } from './crc';
import type { CellState, CellView } from './tokens';

/** A code cell as it stands in the notebook now. */
export interface CellSource {
  readonly id: string;
  /** its place among all cells, from 0 */
  readonly index: number;
  readonly source: string;
  readonly tags: readonly string[];
}

export interface Row {
  readonly id: string;
  /** the number of its last run, '' if it has none */
  readonly count: string;
  readonly index: number;
  readonly source: string;
  readonly crc: number;
  readonly state: CellState;
  readonly reason: string;
  readonly line: string;
  readonly step: string;
  readonly tags: readonly string[];
  readonly view: CellView | undefined;
}

const NAMED = /^%%(?:step|feature)\s+([^\s-]\S*)/;
const STEP_TAG = /^(?:step|block):(.+)$/;

export function rows(
  cells: readonly CellSource[],
  views: ReadonlyMap<string, CellView>,
  before: readonly Row[]
): Row[] {
  const known = new Map(before.map(row => [row.id, row]));
  return cells.map(cell => kept(known.get(cell.id), row(cell, views.get(cell.id), known.get(cell.id))));
}

function row(cell: CellSource, view: CellView | undefined, before: Row | undefined): Row {
  const crc = before?.source === cell.source ? before.crc : crc32(cell.source);
  const ran = view !== undefined && view.state !== 'not run';
  const edited = ran && crc !== view.crc;
  return {
    id: cell.id,
    count: ran ? String(view.execution_count) : '',
    index: cell.index,
    source: cell.source,
    crc,
    state: edited ? 'edited' : (view?.state ?? 'not run'),
    reason: view?.reason ?? '',
    line: firstLine(cell.source),
    step: stepOf(cell) || (edited ? '' : (view?.step ?? '')),
    tags: cell.tags.filter(tag => !STEP_TAG.test(tag)),
    view
  };
}

/** The same object as before where nothing changed, so that its row is not drawn again. */
function kept(before: Row | undefined, now: Row): Row {
  const same =
    before !== undefined &&
    before.index === now.index &&
    before.state === now.state &&
    before.view === now.view &&
    before.source === now.source &&
    before.step === now.step &&
    before.tags.join('\n') === now.tags.join('\n');
  return same ? before : now;
}

function stepOf(cell: CellSource): string {
  const named = NAMED.exec(cell.source.trimStart())?.[1];
  return named ?? cell.tags.map(tag => STEP_TAG.exec(tag)?.[1]).find(name => name !== undefined) ?? '';
}

/** The first line that says something: the step's name has a chip of its own. */
function firstLine(source: string): string {
  const lines = source.split('\n').filter(line => line.trim() !== '');
  const told = lines.find(line => !line.startsWith('%%step'));
  return told ?? lines[0] ?? '';
}
