/**
 * The round as a picture: a dot for each participant, this tab's at the top.
 * A dot moves inward when its report is in. An arc around them shows the progress of
 * this tab's own training. Decorative: the caption has the same as text.
 */

import type { SVGTemplateResult, TemplateResult } from 'lit';
import { html, svg } from 'lit';
import type { PageState } from '../state.js';
import { INITIAL, takesPart, trainedShare } from '../state.js';
import { phaseWords, whole } from '../words.js';
import { LightElement } from './light-element.js';

const MOST_DOTS = 72;
const ORBIT = 152;
const INNER = 112;
const OUTSIDE = 172;

type DotKind = 'idle' | 'training' | 'reported' | 'left';

export class CohortRing extends LightElement {
  static override properties = { state: { attribute: false } };
  declare state: PageState;

  constructor() {
    super();
    this.state = INITIAL;
  }

  protected override render(): TemplateResult {
    const { state } = this;
    const number = state.round?.round ?? state.task?.round;
    return html`
      <svg viewBox="-200 -200 400 400" aria-hidden="true" data-phase=${state.round?.phase ?? 'none'}>
        <circle class="orbit" r=${ORBIT} />
        <circle class="orbit inner" r=${INNER} />
        <circle class="pulse" r=${INNER} />
        <circle class="arc" r="188" pathLength="100" stroke-dasharray="${100 * trainedShare(state)} 100" transform="rotate(-90)" />
        ${dots(state)}
      </svg>
      <div class="centre">
        <span class="label">${state.task && !state.round ? 'Rounds done' : 'Round'}</span>
        <span class="number" id="round">${number === undefined ? '–' : whole(number)}</span>
        <span class="phase" id="phase">${state.task && !state.round ? state.task.title : phaseWords(state.round)}</span>
      </div>
    `;
  }
}

function dots(state: PageState): SVGTemplateResult[] {
  const kinds = dotKinds(state);
  const radius = kinds.length > 36 ? 4.5 : kinds.length > 16 ? 6.5 : 9;
  const mine = state.stage === 'running' && kinds.length > 0;
  return kinds.map((kind, index) => {
    const angle = (index / kinds.length) * 2 * Math.PI - Math.PI / 2;
    const orbit = kind === 'reported' ? INNER : kind === 'left' ? OUTSIDE : ORBIT;
    const [x, y] = [Math.cos(angle) * orbit, Math.sin(angle) * orbit];
    const you = mine && index === 0;
    return svg`<g class="dot ${kind} ${you ? 'you' : ''}" .style="transform: translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)">
      <circle r=${you ? radius + 2.5 : radius} />
      ${you ? svg`<text y="27">you</text>` : ''}
    </g>`;
  });
}

/** The kind of each dot. More participants than dots are shown in proportion. */
function dotKinds(state: PageState): DotKind[] {
  const { round } = state;
  const gathering = !round || ['selecting', 'paused', 'finished'].includes(round.phase) || round.cohort === 0;
  const all = gathering ? (round?.clientsConnected ?? state.task?.clients_connected ?? 0) : round.cohort;
  const count = Math.min(all, MOST_DOTS);
  const kinds: DotKind[] = Array.from({ length: count }, () => (gathering ? 'idle' : 'training'));
  if (gathering || count === 0) return kinds;
  const scale = count / all;
  const inIt = takesPart(state);
  const mineIn = inIt && state.status?.state === 'reported';
  // This tab is dot 0. The page does not know which others have reported, so their
  // dots are spread around the ring.
  const others = spread(inIt ? 1 : 0, count);
  const reported = Math.round(round.reported * scale) - (mineIn ? 1 : 0);
  const left = Math.round(round.left * scale);
  others.slice(0, Math.max(0, reported)).forEach((index) => (kinds[index] = 'reported'));
  others.slice(others.length - left).forEach((index) => (kinds[index] = left > 0 ? 'left' : (kinds[index] ?? 'idle')));
  if (mineIn) kinds[0] = 'reported';
  return kinds;
}

/** The numbers from `first` to `count` - 1, each far from the one before. */
function spread(first: number, count: number): number[] {
  const golden = 0.618034;
  return Array.from({ length: count - first }, (_, index) => index + first).sort((a, b) => ((a * golden) % 1) - ((b * golden) % 1));
}

customElements.define('fedra-cohort-ring', CohortRing);
