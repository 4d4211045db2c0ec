// The libraries of this folder as the pages' scripts find them: globals without types of their own.
declare const OpenSeadragon: any;
declare const Chart: any;
declare const tus: any;
interface Window {
  tus?: any;
}
