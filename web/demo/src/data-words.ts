/** The data of a task in plain words. Pure. */
import type { Model } from './generated/http-api.js';
import type { Column, DataKind, Description, TableDescription, TaskData } from './task-data.js';
import { inputsOf, targetsOf, unscaled } from './task-data.js';
import { percent, whole } from './words.js';

/** A part of a description: a name, and its meaning for the model. */
export type Fact = readonly [name: string, words: string];

export interface DataWords {
  /** Sentence about one example. */
  readonly example: string;
  readonly facts: readonly Fact[];
}

const PARTS = { span: 'the time since {min}', year: 'the time of the year', week: 'the day of the week', day: 'the time of the day' };
/** Values that are named one by one; more are counted. */
const MOST_NAMED = 7;

/** The description of a task's data; where there is none, the digits, or what the model takes. */
export function dataWords(kind: DataKind, data: TaskData | undefined, model: Model): DataWords {
  if (data) return describe(data.data);
  if (kind === 'digits') {
    return {
      example: 'An example is a handwritten digit, and the model says which one it is.',
      facts: [
        ['Size', '28 × 28 pixels'],
        ['Colours', 'shades of grey, as numbers from 0 to 1'],
        ['Classes', 'the digits 0 to 9'],
      ],
    };
  }
  return {
    example: `An example is an array of the shape ${dims(model.input)}. Give arrays from a page of your own with the npm package fedra, or from a device with fedra-edge.`,
    facts: [
      ['Takes', `${counted(size(model.input), model.vocabulary === null ? 'number' : 'token id')} an example`],
      ...(model.vocabulary === null ? [] : [['Tokens', whole(model.vocabulary)] as const]),
      ['Gives', `${counted(size(model.output), 'number')} an example`],
    ],
  };
}

/** The lengths of an array along its dimensions. */
function dims(shape: readonly number[]): string {
  return shape.map(whole).join(' × ');
}

function size(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

function describe(data: Description): DataWords {
  switch (data.kind) {
    case 'table': {
      const inputs = inputsOf(data);
      const targets = targetsOf(data);
      const [target] = targets;
      const predicted = targets.length === 1 && target ? `one more, “${target.name}”` : `${whole(targets.length)} more`;
      return {
        example: `An example is a row of a table. From ${counted(inputs.length, 'column')} the model predicts ${predicted}. Other columns are passed over.`,
        facts: [...inputs.map(columnFact), ...targets.map((column) => [`Predicted: ${column.name}`, columnFact(column)[1]] as const)],
      };
    }
    case 'text':
      return {
        example: `An example is a stretch of ${whole(data.context)} ${data.alphabet === undefined ? 'bytes' : 'characters'}. After each of them the model guesses the next one.`,
        facts: [
          ['Stretch', `${whole(data.context)} ${data.alphabet === undefined ? 'bytes' : 'characters'}, each with the one that follows it`],
          ...alphabetFacts(data.alphabet, data.other ?? false),
        ],
      };
    case 'image':
      return {
        example: 'An example is a picture, and the model says which class it belongs to.',
        facts: [
          ['Size', `${whole(data.width)} × ${whole(data.height)} pixels; what is larger is scaled down`],
          ['Colours', (data.channels ?? 3) === 3 ? 'red, green and blue' : 'shades of grey'],
          ['Classes', listed(data.classes)],
        ],
      };
    case 'array':
      return {
        example: `An example is an array of the shape ${dims(data.shape)}, with a label.`,
        facts: [
          ['Numbers', `${whole(size(data.shape))} an example, as ${data.dtype}`],
          ['Files', 'one .npz, or one of examples and one of labels, as .npy or IDX'],
        ],
      };
  }
}

function columnFact(column: Column): Fact {
  switch (column.type) {
    case 'number': {
      const { mean, deviation, fill } = column;
      const scale = mean !== undefined && deviation !== undefined ? `, counted from ${mean} in steps of ${deviation}` : '';
      return [column.name, `a number${scale}${fill === undefined ? '' : `; ${fill} where it is missing`}`];
    }
    case 'category': {
      const { values, other } = column;
      return [column.name, `one of ${listed(values)}${other ? ', or any other' : ''}`];
    }
    case 'boolean':
      return [column.name, 'yes or no'];
    case 'date': {
      const since = column.min ?? 'the beginning';
      return [column.name, `a date: ${column.parts.map((part) => PARTS[part].replace('{min}', since)).join(' and ')}`];
    }
  }
}

/** Prediction of a model without classes: each column with its value, or with the probability of yes. */
export function predictions(table: TableDescription, outputs: Float32Array): readonly Fact[] {
  return targetsOf(table).map((column, index) => {
    const output = outputs[index] ?? 0;
    return [column.name, column.type === 'number' ? rounded(unscaled(column, output)) : `yes: ${percent(output, 0)}`];
  });
}

/** A number with at most four digits that count. */
function rounded(value: number): string {
  return String(Number(value.toPrecision(4))).replace('-', '−');
}

function alphabetFacts(alphabet: string | undefined, other: boolean): readonly Fact[] {
  if (alphabet === undefined) return [['Alphabet', 'the 256 bytes of a text in UTF-8']];
  const characters = [...alphabet];
  const letters = characters.filter((character) => /\p{L}/u.test(character)).length;
  const digits = characters.filter((character) => /\p{N}/u.test(character)).length;
  const signs = characters.length - letters - digits;
  const kinds = [
    letters > 0 ? counted(letters, 'letter') : '',
    digits > 0 ? counted(digits, 'digit') : '',
    signs > 0 ? `${counted(signs, 'sign')} and spaces` : '',
  ].filter(Boolean);
  return [
    [
      'Alphabet',
      `${counted(characters.length, 'character')}: ${kinds.join(', ')}${other ? '; any other character counts as one more' : ''}`,
    ],
  ];
}

function listed(values: readonly string[]): string {
  if (values.length > MOST_NAMED) return `${whole(values.length)} values, such as ${values.slice(0, 3).join(', ')}`;
  return values.join(', ');
}

function counted(amount: number, noun: string): string {
  return `${whole(amount)} ${noun}${amount === 1 ? '' : 's'}`;
}
