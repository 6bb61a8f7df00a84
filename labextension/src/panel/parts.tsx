import * as React from 'react';

import { glyph } from './glyphs';

/** A titled part of the panel that folds. */
export function Section(props: {
  readonly name: string;
  readonly title: string;
  readonly count?: number;
  readonly children: React.ReactNode;
}): React.JSX.Element {
  return (
    <details className="jp-MlopsSection" data-section={props.name} open>
      <summary>
        {props.title}
        {props.count !== undefined && <span className="jp-MlopsCount">{props.count}</span>}
      </summary>
      {props.children}
    </details>
  );
}

/** An outcome as a shape; `label` is what it is called, left out where the text beside it says so. */
export function Glyph(props: { readonly outcome: string; readonly label?: string }): React.JSX.Element {
  const { outcome, label } = props;
  const spoken =
    label === undefined ? { 'aria-hidden': true } : { role: 'img', 'aria-label': label, title: label };
  return (
    <span className="jp-MlopsGlyph" data-outcome={outcome} {...spoken}>
      {glyph(outcome)}
    </span>
  );
}

export function Chip({
  text,
  kind
}: {
  readonly text: string;
  readonly kind: 'step' | 'tag' | 'name';
}): React.JSX.Element {
  return (
    <span className="jp-MlopsChip" data-kind={kind} title={text}>
      {text}
    </span>
  );
}

export function Chips({
  texts,
  kind,
  none
}: {
  readonly texts: readonly string[];
  readonly kind: 'step' | 'tag' | 'name';
  readonly none?: string;
}): React.JSX.Element {
  return (
    <span className="jp-MlopsChips">
      {texts.length === 0 && none}
      {texts.map(text => (
        <Chip key={text} text={text} kind={kind} />
      ))}
    </span>
  );
}

/** What to do so that this part fills. */
export function Hint({ text }: { readonly text: string }): React.JSX.Element {
  return <p className="jp-MlopsHint">{text}</p>;
}

/** A line that leads to a cell, where there is one. */
export function CellLink(props: {
  readonly text: string;
  readonly go: (() => void) | undefined;
}): React.JSX.Element {
  return props.go ? (
    <button className="jp-MlopsLink" onClick={props.go} title={props.text}>
      {props.text}
    </button>
  ) : (
    <span className="jp-MlopsName" title={props.text}>
      {props.text}
    </span>
  );
}
