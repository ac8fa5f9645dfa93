/** The operator's page: styles and elements. */
import 'uplot/dist/uPlot.min.css';
import '../styles.css';
import '../model.css';
import '../privacy.css';
import './admin.css';
import './components/fedra-admin.js';
