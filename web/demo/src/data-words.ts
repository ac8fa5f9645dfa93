/** The data of a task in plain words. Pure. */
import type { Column, Description, TaskData } from './task-data.js';
import { whole } from './words.js';

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

/** The description of a task's data, or of the digits where it has none. */
export function dataWords(data: TaskData | undefined): DataWords {
  if (!data) {
    return {
      example: 'An example is a handwritten digit, and the model says which one it is.',
      facts: [
        ['Size', '28 × 28 pixels'],
        ['Colours', 'shades of grey, as numbers from 0 to 1'],
        ['Classes', 'the digits 0 to 9'],
      ],
    };
  }
  return describe(data.data);
}

function describe(data: Description): DataWords {
  switch (data.kind) {
    case 'table': {
      const inputs = data.columns.filter(({ name }) => name !== data.target);
      const target = data.columns.find(({ name }) => name === data.target);
      return {
        example: `An example is a row of a table. From ${counted(inputs.length, 'column')} the model predicts one more, “${data.target}”. Other columns are passed over.`,
        facts: [...inputs.map(columnFact), ...(target ? [[`Predicted: ${target.name}`, columnFact(target)[1]] as const] : [])],
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
  }
}

function columnFact(column: Column): Fact {
  switch (column.type) {
    case 'number': {
      const { mean, deviation, min, max, fill } = column;
      const scale = mean !== undefined && deviation !== undefined ? `, around ${mean} give or take ${deviation}` : '';
      const range = min !== undefined && max !== undefined ? `, from ${min} to ${max}` : '';
      return [column.name, `a number${scale}${range}${fill === undefined ? '' : `; ${fill} where it is missing`}`];
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
