"""A blockwise search on this store and these devices: its costs and setting, measured finalists, the answer and its folder."""
