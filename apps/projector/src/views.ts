import { customers } from './views/customers';
import { orders } from './views/orders';
import { products } from './views/products';
import { sales } from './views/sales';
import type { View } from './views/view';

/** All views of the program. */
export const VIEWS: readonly View[] = [products, orders, customers, sales];

/** The view of that name, or undefined. */
export const findView = (name: string): View | undefined => VIEWS.find((view) => view.name === name);
