import { PathExt } from '@jupyterlab/coreutils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Debouncer } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Api } from './api';
import { KernelLink } from './link';
import { type CellSource, type Row, rows } from './rows';
import type { CellView, Delta, Recording, Snapshot } from './tokens';

// A kernel's facts are committed some 20 ms after its message; components, features and tests may come with a cell run.
const REFRESH_MS = 250;
const EDIT_MS = 120;

/** What is known of one open notebook: the registry's snapshot, newer deltas laid over it, the cells as they stand. */
export class NotebookState implements IDisposable {
  readonly link: KernelLink;
  rows: readonly Row[] = [];
  snapshot: Snapshot | null = null;
  recording: Recording | null = null;
  /** why the server did not answer, '' when it did */
  problem = '';
  selected = '';

  private epoch = '';
  private seq = 0;
  private overlay = new Map<string, CellView>();
  private readonly _changed = new Signal<this, undefined>(this);
  private readonly soon = new Debouncer(() => this.refresh(), REFRESH_MS);
  private readonly typed = new Debouncer(() => {
    this.rebuild();
  }, EDIT_MS);

  constructor(
    readonly panel: NotebookPanel,
    private readonly api: Api,
    private readonly contents: Contents.IManager
  ) {
    this.link = new KernelLink(panel.sessionContext);
    this.link.delta.connect(this.onDelta, this);
    this.link.changed.connect(this.emit, this);
    panel.disposed.connect(this.dispose, this);
    panel.context.pathChanged.connect(this.onPath, this);
    panel.content.activeCellChanged.connect(this.onActive, this);
    void panel.revealed.then(() => {
      this.watch();
    });
  }

  get changed(): ISignal<this, undefined> {
    return this._changed;
  }

  get path(): string {
    return this.contents.localPath(this.panel.context.path);
  }

  /** The notebook's file name. */
  get name(): string {
    return PathExt.basename(this.path);
  }

  get isDisposed(): boolean {
    return this.link.isDisposed;
  }

  /** Whether anything was ever recorded of this notebook. */
  get known(): boolean {
    return this.overlay.size > 0 || (this.snapshot?.cells ?? []).some(view => view.state !== 'not run');
  }

  /** Whether the states are of a kernel process that is gone, so that the values are not in memory. */
  get remembered(): boolean {
    const session = this.snapshot?.session;
    const gone = this.link.pid !== 0 && session !== undefined && session?.pid !== this.link.pid;
    return this.known && !this.link.live && (this.link.restarted || gone);
  }

  dispose(): void {
    if (!this.isDisposed) {
      this.link.dispose();
      this.soon.dispose();
      this.typed.dispose();
      Signal.clearData(this);
    }
  }

  /** Fetch the snapshot again. */
  async refresh(): Promise<void> {
    try {
      this.snapshot = await this.api.notebook(this.path);
      this.recording ??= this.snapshot.recording;
      this.problem = '';
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.rebuild();
  }

  select(id: string): void {
    if (id !== this.selected) {
      this.selected = id;
      this.emit();
    }
  }

  /** Show the cell in the notebook and make it the active one. */
  async reveal(id: string): Promise<void> {
    const cell = this.panel.content.widgets.find(widget => widget.model.id === id);
    if (cell) {
      this.select(id);
      await this.panel.content.scrollToCell(cell);
    }
  }

  /** Go to the selected cell, keyboard focus included. */
  async enter(): Promise<void> {
    await this.reveal(this.selected);
    this.panel.content.mode = 'command';
    this.panel.content.activate();
  }

  private watch(): void {
    const model = this.panel.content.model;
    if (!this.isDisposed && model) {
      model.cells.changed.connect(this.rebuild, this);
      model.contentChanged.connect(this.onTyped, this);
      this.onActive();
      void this.refresh();
    }
  }

  private onDelta(_: KernelLink, delta: Delta): void {
    if (delta.epoch !== this.epoch || delta.seq !== this.seq + 1) {
      this.overlay.clear();
    }
    this.epoch = delta.epoch;
    this.seq = delta.seq;
    this.recording = delta.recording;
    delta.cells.forEach(view => this.overlay.set(view.cell_id, view));
    this.rebuild();
    void this.soon.invoke();
  }

  private onPath(): void {
    this.overlay.clear();
    void this.soon.invoke();
  }

  private onTyped(): void {
    void this.typed.invoke();
  }

  private onActive(): void {
    const cell = this.panel.content.activeCell;
    if (cell?.model.type === 'code') {
      this.select(cell.model.id);
    }
  }

  private rebuild(): void {
    const views = new Map((this.snapshot?.cells ?? []).map(view => [view.cell_id, view]));
    this.overlay.forEach((view, id) => views.set(id, view));
    this.rows = rows(this.sources(), views, this.rows);
    this.emit();
  }

  private sources(): CellSource[] {
    return this.panel.content.widgets.flatMap((widget, index) =>
      widget.model.type !== 'code'
        ? []
        : [
            {
              id: widget.model.id,
              index,
              source: widget.model.sharedModel.getSource(),
              tags: tagsOf(widget.model.getMetadata('tags'))
            }
          ]
    );
  }

  private emit(): void {
    this._changed.emit(undefined);
  }
}

function tagsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter(tag => typeof tag === 'string') : [];
}
