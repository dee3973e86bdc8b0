/** Keys that a view has acted on stay with it: JupyterLab binds arrows and Enter too. */
export function handled(event: Event): void {
  event.preventDefault();
  event.stopPropagation();
}
