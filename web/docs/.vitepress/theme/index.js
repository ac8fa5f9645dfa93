/** Look of the site: VitePress's own, in the colours of the demo page. */

import DefaultTheme from 'vitepress/theme';
import './style.css';

export default DefaultTheme;
