import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { Poll } from '@lumino/polling';

import { Api } from './api';
import { paint } from './badges';
import { PanelModel } from './model';
import { icon, MlopsPanel } from './panel/widget';
import type { NotebookState } from './state';
import { PLUGIN_ID } from './tokens';

const SHOW = 'mlops-nb:show-panel';
const POLL_MS = 10_000;

/** The notebook's cells as mlops_nb sees them: a side panel, and a mark at each cell's prompt. */
const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'A panel with the states of a notebook, its components, features, tests and last run',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ITranslator, ILayoutRestorer, ICommandPalette, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    settings: ISettingRegistry | null
  ) => {
    const trans = (translator ?? nullTranslator).load('mlops_nb');
    const manager = app.serviceManager;
    const badges = new Badges(trans);
    const model = new PanelModel(tracker, new Api(manager.serverSettings), manager.contents, state => {
      badges.add(state);
    });
    const panel = new MlopsPanel(model, trans);
    app.shell.add(panel, 'right', { rank: 300 });
    restorer?.add(panel, panel.id);
    app.commands.addCommand(SHOW, {
      label: trans.__('Show MLOps Panel'),
      icon,
      execute: () => {
        app.shell.activateById(panel.id);
      }
    });
    palette?.addItem({ command: SHOW, category: trans.__('Notebook') });
    void settings?.load(PLUGIN_ID).then(loaded => {
      badges.follow(loaded);
    });
    follow(panel, model);
  }
};

/** Headless runs do not pass through a kernel we hear: look again now and then, while somebody looks at the panel. */
function follow(panel: MlopsPanel, model: PanelModel): Poll {
  return new Poll({
    name: 'mlops-nb:refresh',
    factory: () => model.current?.refresh() ?? Promise.resolve(),
    frequency: { interval: POLL_MS, backoff: true, max: 6 * POLL_MS },
    standby: () => !panel.isVisible || document.hidden
  });
}

/** The marks at the prompts of all notebooks, which a setting turns off. */
class Badges {
  private on = true;
  private readonly states = new Set<NotebookState>();

  constructor(private readonly trans: TranslationBundle) {}

  add(state: NotebookState): void {
    this.states.add(state);
    state.changed.connect(() => {
      paint(state, this.on, this.trans);
    });
    state.panel.disposed.connect(() => this.states.delete(state));
  }

  follow(settings: ISettingRegistry.ISettings): void {
    const apply = (): void => {
      this.on = settings.get('badges').composite !== false;
      this.states.forEach(state => {
        paint(state, this.on, this.trans);
      });
    };
    settings.changed.connect(apply);
    apply();
  }
}

export default plugin;
