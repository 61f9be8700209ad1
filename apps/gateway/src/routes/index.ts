import type { Endpoint } from '../endpoint';
import { accountEndpoints } from './accounts';
import { cartEndpoints } from './cart';
import { catalogEndpoints } from './catalog';
import { operationEndpoints } from './operations';
import { orderEndpoints } from './orders';
import { reportEndpoints } from './reports';

/** Every route of the gateway, in the order of the document. */
export const ENDPOINTS: readonly Endpoint[] = [
  ...accountEndpoints,
  ...catalogEndpoints,
  ...cartEndpoints,
  ...orderEndpoints,
  ...reportEndpoints,
  ...operationEndpoints(() => ENDPOINTS),
];
