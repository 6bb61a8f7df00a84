import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';
import { VDomModel } from '@jupyterlab/ui-components';

import type { Api } from './api';
import { NotebookState } from './state';

/** The states of all open notebooks, and the one the panel shows. */
export class PanelModel extends VDomModel {
  private readonly states = new Map<NotebookPanel, NotebookState>();

  constructor(
    private readonly tracker: INotebookTracker,
    readonly api: Api,
    private readonly contents: Contents.IManager,
    private readonly onState: (state: NotebookState) => void
  ) {
    super();
    tracker.forEach(panel => {
      this.add(panel);
    });
    tracker.widgetAdded.connect((_, panel) => {
      this.add(panel);
    });
    tracker.currentChanged.connect(() => {
      this.stateChanged.emit(undefined);
    });
  }

  /** The state of the notebook in front, if there is one. */
  get current(): NotebookState | undefined {
    return this.tracker.currentWidget ? this.states.get(this.tracker.currentWidget) : undefined;
  }

  private add(panel: NotebookPanel): void {
    const state = new NotebookState(panel, this.api, this.contents);
    this.states.set(panel, state);
    panel.disposed.connect(() => this.states.delete(panel));
    state.changed.connect(() => {
      this.stateChanged.emit(undefined);
    });
    this.onState(state);
  }
}
