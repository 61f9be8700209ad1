export { FileError, minorDigits, readSalesFile, type BadRow, type Sale, type SalesFile } from './sales-file';
