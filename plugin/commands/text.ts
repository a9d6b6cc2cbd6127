export const closeFeerateNote = 'the tree’s fees are part of funding_msat; they come back when the factory is closed by agreement';
