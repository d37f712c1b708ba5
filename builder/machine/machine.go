// Package machine tells what was found of a machine: what it allows, and what it refuses.
package machine

import "strings"

// Probe is something that was tried on a machine.
type Probe struct {
	Name string
	OK   bool
	// Found is what there is, or why there is not; then Fix is what mends it, if anything does.
	Found, Fix string
}

// Lacks says in one sentence each what probes that have failed have found, and what mends that: one of the
// remedies may be enough.
func Lacks(probes []Probe) (missing, fix string) {
	var found, fixes []string
	for _, p := range probes {
		if p.OK {
			continue
		}
		found = append(found, p.Found)
		if p.Fix != "" {
			fixes = append(fixes, p.Fix)
		}
	}
	if found == nil {
		found = []string{"no more was asked for"}
	}
	return strings.Join(found, "; "), strings.Join(fixes, "; or: ")
}
