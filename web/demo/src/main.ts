/** The page's entry: styles and elements. */
import 'uplot/dist/uPlot.min.css';
import './styles.css';
import './model.css';
import './privacy.css';
import './own-data.css';
import './try.css';
import './components/fedra-demo.js';
