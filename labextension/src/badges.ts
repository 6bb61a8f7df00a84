import type { TranslationBundle } from '@jupyterlab/translation';

import { stateName } from './panel/glyphs';
import type { NotebookState } from './state';

/** Mark the notebook's code cells with their states; style/base.css draws them. Cells nobody recorded stay bare. */
export function paint(state: NotebookState, on: boolean, trans: TranslationBundle): void {
  const known = new Map(on && state.known ? state.rows.map(row => [row.id, row]) : []);
  for (const widget of state.panel.content.widgets) {
    const row = known.get(widget.model.id);
    if (!row) {
      delete widget.node.dataset.mlopsState;
      widget.node.removeAttribute('aria-description');
    } else if (widget.node.dataset.mlopsState !== row.state) {
      widget.node.dataset.mlopsState = row.state;
      widget.node.setAttribute('aria-description', stateName(row.state, trans));
    }
  }
}
