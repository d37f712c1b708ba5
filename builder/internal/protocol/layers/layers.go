// Package layers declares the calls of the worker that ask about single layers.
package layers

// Sizes asks how large layers are, by their names as Stepped has them. It gives those that are in the
// store.
type Sizes struct{ Layers []string }

// Gives declares the method.
func (Sizes) Gives(map[string]int64) string { return "layersizes" }
