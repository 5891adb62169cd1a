/* A matrix in one array. */

/** Rows of an array that holds them one after another. */
export class Rows {
  constructor(values, columns) {
    this.values = values;
    this.columns = columns;
    this.length = values.length / columns;
  }

  row(index) { return this.slice(index, index + 1); }
  slice(first, last) { return this.values.subarray(first * this.columns, last * this.columns); }
}
