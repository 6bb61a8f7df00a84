/** The wire types: the names are those of mlops_nb/project/panel.py and mlops_nb/records.py. */

export const PLUGIN_ID = 'mlops-nb:plugin';
export const MIME = 'application/vnd.mlops-nb.delta+json';
export const WIRE_VERSION = 1;

export type CellState = 'fresh' | 'stale' | 'edited' | 'failed' | 'not run';
export type Outcome = 'passed' | 'failed' | 'error';
export type StepStatus = 'ran' | 'skipped' | 'failed' | 'interrupted' | 'not run';
export type RunStatus = 'running' | 'passed' | 'failed' | 'interrupted';

export interface CellView {
  readonly cell_id: string;
  readonly state: CellState;
  readonly reason: string;
  readonly execution_count: number;
  /** zlib.crc32 of the source as it last ran, UTF-8 */
  readonly crc: number;
  readonly seconds: number;
  readonly step: string;
  readonly tags: readonly string[];
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** ids of the cells whose values this one read */
  readonly upstream: readonly string[];
}

export interface Recording {
  readonly on: boolean;
  readonly reason: string;
}

/** What the kernel broadcasts after a cell run. A new epoch, or a seq that does not follow, means: fetch the snapshot again. */
export interface Delta {
  readonly v: number;
  readonly epoch: string;
  readonly seq: number;
  readonly notebook: string;
  readonly recording: Recording;
  readonly cells: readonly CellView[];
}

export interface Component {
  readonly name: string;
  readonly promoted: boolean;
  readonly cells: readonly string[];
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly last: { readonly status: StepStatus; readonly seconds: number; readonly run_id: string } | null;
}

export interface Feature {
  readonly name: string;
  readonly entity: readonly string[];
  readonly owner: string;
  readonly tags: readonly string[];
  readonly description: string;
  readonly version: string;
  readonly cell_id: string;
  readonly notebook: string;
  /** null: never materialized */
  readonly rows: number | null;
}

export interface Test {
  readonly name: string;
  readonly kind: string;
  readonly cell_id: string;
  readonly severity: string;
  /** null: not run yet */
  readonly outcome: Outcome | null;
  readonly message: string;
}

export interface Step {
  readonly component: string;
  readonly status: StepStatus;
  readonly seconds: number;
  readonly cell_id: string;
  readonly error: string;
  readonly reason: string;
}

export interface Run {
  readonly id: string;
  readonly pipeline: string;
  readonly status: RunStatus;
  readonly started: string;
  readonly seconds: number;
  readonly error: string;
  readonly steps: readonly Step[];
}

/** The answer of `GET mlops-nb/notebook`. `session` is the one whose run of this notebook is the newest. */
export interface Snapshot {
  readonly v: number;
  readonly notebook: string;
  /** null: there is no registry yet */
  readonly recording: Recording | null;
  readonly session: { readonly pid: number; readonly kernel_id: string } | null;
  readonly cells: readonly CellView[];
  readonly components: readonly Component[];
  readonly features: readonly Feature[];
  readonly tests: readonly Test[];
  readonly last_run: Run | null;
}

/** Whether a display message's data is one of ours; anything can come out of a kernel. */
export function isDelta(value: unknown): value is Delta {
  const delta = value as Partial<Delta> | null | undefined;
  return (
    typeof delta === 'object' &&
    delta?.v === WIRE_VERSION &&
    typeof delta.epoch === 'string' &&
    typeof delta.seq === 'number' &&
    typeof delta.recording?.on === 'boolean' &&
    Array.isArray(delta.cells)
  );
}
