import type { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, VDomRenderer } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { PanelModel } from '../model';
import { Cells, SelectedCell } from './cells';
import { Hint } from './parts';
import { Components, LastRun } from './pipeline';
import { Features, Tests } from './registry';
import { Status } from './status';

// a small graph: two cells that a third one stands on
const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">' +
  '<path d="M3 3h7v6H3zM14 3h7v6h-7zM8.5 15h7v6h-7zM5.6 9h1.8v2h9.2V9h1.8v3.8h-5.5V15h-1.8v-2.200H5.600z"/></g></svg>';

export const icon = new LabIcon({ name: 'mlops-nb:icon', svgstr: SVG });

/** The side panel. */
export class MlopsPanel extends VDomRenderer<PanelModel> {
  constructor(
    model: PanelModel,
    private readonly trans: TranslationBundle
  ) {
    super(model);
    this.id = 'mlops-nb-panel';
    this.addClass('jp-MlopsPanel');
    this.title.icon = icon;
    this.title.caption = trans.__('MLOps: cells, components, features and tests');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('MLOps'));
  }

  protected render(): React.JSX.Element {
    const state = this.model.current;
    const trans = this.trans;
    if (!state) {
      return <Hint text={trans.__('Open a notebook to see its cells, components, features and tests.')} />;
    }
    return (
      <React.Fragment key={state.panel.id}>
        <Status state={state} trans={trans} />
        <Cells state={state} trans={trans} />
        <SelectedCell state={state} trans={trans} />
        <Components state={state} trans={trans} />
        <Features state={state} trans={trans} api={this.model.api} />
        <Tests state={state} trans={trans} />
        <LastRun state={state} trans={trans} />
      </React.Fragment>
    );
  }
}
