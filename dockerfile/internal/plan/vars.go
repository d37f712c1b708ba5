package plan

import (
	"slices"
	"strings"
)

// vars is a list of variables in the order of their first setting. It satisfies
// BuildKit's shell.EnvGetter.
type vars struct {
	names  []string
	values map[string]string
	size   int // of all names and values
}

// newVars takes variables of the form NAME=value.
func newVars(env []string) *vars {
	v := &vars{values: map[string]string{}}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		v.Set(name, value)
	}
	return v
}

// Set sets a variable, in its old place when it has one.
func (v *vars) Set(name, value string) {
	if old, ok := v.values[name]; ok {
		v.size -= len(name) + len(old)
	} else {
		v.names = append(v.names, name)
	}
	v.size += len(name) + len(value)
	v.values[name] = value
}

// Get gives a variable's value, and whether it is set.
func (v *vars) Get(name string) (string, bool) {
	value, ok := v.values[name]
	return value, ok
}

// unset removes a variable.
func (v *vars) unset(name string) {
	if old, ok := v.values[name]; ok {
		v.size -= len(name) + len(old)
	}
	delete(v.values, name)
	v.names = slices.DeleteFunc(v.names, func(n string) bool { return n == name })
}

// Keys gives the variables' names.
func (v *vars) Keys() []string { return slices.Clone(v.names) }

// clone copies the list.
func (v *vars) clone() *vars {
	c := newVars(nil)
	for _, name := range v.names {
		c.Set(name, v.values[name])
	}
	return c
}

// SetEnv sets a variable in a list of NAME=value, as ENV does: in its old place
// when it has one. The list is changed.
func SetEnv(env []string, name, value string) []string {
	entry := name + "=" + value
	for i, e := range env {
		if old, _, _ := strings.Cut(e, "="); old == name {
			env[i] = entry
			return env
		}
	}
	return append(env, entry)
}

// Lookup gives the value of a variable in a list of NAME=value.
func Lookup(env []string, name string) (string, bool) {
	for _, e := range env {
		if n, value, _ := strings.Cut(e, "="); n == name {
			return value, true
		}
	}
	return "", false
}
