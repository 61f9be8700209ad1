import type { Endpoint } from '../endpoint';
import { accountEndpoints } from './accounts';
import { cartEndpoints } from './cart';
import { catalogEndpoints } from './catalog';
import { deadLetterEndpoints } from './dead-letters';
import { imageEndpoints } from './images';
import { importEndpoints } from './imports';
import { jobEndpoints } from './jobs';
import { operationEndpoints } from './operations';
import { orderEndpoints } from './orders';
import { recommendationEndpoints } from './recommendations';
import { reportEndpoints } from './reports';
import { vitalsEndpoints } from './vitals';

/** Every route of the gateway, in the order of the document. */
export const ENDPOINTS: readonly Endpoint[] = [
  ...accountEndpoints,
  ...catalogEndpoints,
  ...recommendationEndpoints,
  ...imageEndpoints,
  ...cartEndpoints,
  ...orderEndpoints,
  ...reportEndpoints,
  ...importEndpoints,
  ...jobEndpoints,
  ...deadLetterEndpoints,
  ...vitalsEndpoints,
  ...operationEndpoints(() => ENDPOINTS),
];
