package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder/display"
)

// verdict is what becomes of a flag of another builder.
type verdict string

const (
	// What the flag asks for is so anyway. It is accepted without a word.
	holds verdict = "holds"
	// It cannot be had, and the result is the same without it. It is accepted with a warning.
	missed verdict = "warning"
	// Without it the image, what a command can reach, or a file that a script waits for
	// would be another. It is an error.
	refused verdict = "error"
)

// foreignFlag is a flag of docker, buildx, podman or buildah that is no flag of
// oakum's, because it asks for what is so anyway or for what oakum cannot do. It is in
// a table so that a script that gives it learns which, and a typing error is told from it.
type foreignFlag struct {
	names string // as they are typed: "-m, --memory"
	value string // what its value is called; "" is a switch
	rules []rule // the first whose values match counts
}

// rule is the verdict on some values of a foreignFlag.
type rule struct {
	verdict verdict
	words   string
	// values are those that it holds for: a "*" at the end stands for any rest, and case
	// does not matter. The values of a switch are true and false. None means any.
	values []string
	// not are flags of oakum's beside which it is an error.
	not []string
}

// so makes a rule.
func so(v verdict, words string, values ...string) rule {
	return rule{verdict: v, words: words, values: values}
}

func (r rule) without(flags ...string) rule { r.not = flags; return r }

// foreignGlobals is the key in foreignFlags of the flags that stand before any command.
const foreignGlobals = ""

// foreignFlags are those of a command of oakum, by its name.
var foreignFlags = map[string][]foreignFlag{
	foreignGlobals: globalForeign,
	"build":        slices.Concat(buildForeign, sandboxForeign, limitForeign, contentTrust),
	"run":          slices.Concat(runForeign, sandboxForeign, limitForeign, contentTrust),
	"push":         slices.Concat(pushForeign, contentTrust),
	"pull":         slices.Concat(pullForeign, contentTrust),
	"save":         saveForeign,
	"images":       imagesForeign,
	"rmi":          rmiForeign,
	"image prune":  imagePruneForeign,
	"prune":        pruneForeign,
	"du":           duForeign,
	"history":      historyForeign,
	"inspect":      inspectForeign,
}

// foreignVariables are variables of buildah's that stand for a flag of build.
var foreignVariables = [][2]string{
	{"BUILDAH_LAYERS", "layers"},
	{"BUILDAH_RUNTIME", "runtime"},
}

// secretValues are flags whose values may hold a password or a token, and are not shown.
var secretValues = []string{"decryption-key", "encrypt-layer", "connection", "H", "env-merge", "health-cmd", "log-driver", "annotation"}

// lookupForeign finds a flag by its name without dashes. The long ones of
// foreignGlobals may follow a command too.
func lookupForeign(command, name string) (foreignFlag, bool) {
	for _, f := range foreignFlags[command] {
		if slices.Contains(f.list(), name) {
			return f, true
		}
	}
	if command == foreignGlobals || len(name) == 1 {
		return foreignFlag{}, false
	}
	return lookupForeign(foreignGlobals, name)
}

// list is the names without dashes.
func (f foreignFlag) list() []string {
	names := strings.Split(f.names, ", ")
	for i, name := range names {
		names[i] = strings.TrimLeft(name, "-")
	}
	return names
}

// judge gives the rule for a value of the flag, and the value in its usual form.
func (f foreignFlag) judge(typed, value string) (rule, string, error) {
	if f.value == "" {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return rule{}, "", usagef("invalid boolean value %q for %s", value, typed)
		}
		value = strconv.FormatBool(on)
	}
	for _, r := range f.rules {
		if len(r.values) == 0 || slices.ContainsFunc(r.values, func(v string) bool { return matches(v, value) }) {
			return r, value, nil
		}
	}
	return rule{}, "", usagef("invalid value %q for %s", value, typed)
}

func matches(pattern, value string) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return len(value) >= len(start) && strings.EqualFold(value[:len(start)], start)
	}
	return strings.EqualFold(pattern, value)
}

// foreignUse is a flag or variable that was given, as the user wrote it, with its rule.
type foreignUse struct {
	typed string
	flag  string // without its value
	rule  rule
}

// use judges typed, a flag or variable as the user wrote it, with a value.
func (f foreignFlag) use(typed, value string) (foreignUse, error) {
	r, value, err := f.judge(typed, value)
	if err != nil {
		return foreignUse{}, err
	}
	flag := typed
	if (f.value != "" || value == "false") && !slices.Contains(secretValues, f.list()[0]) {
		typed += "=" + value
	}
	typed = display.Line(typed)
	if r.verdict == refused {
		return foreignUse{}, usagef("%s is not supported: %s", typed, r.words)
	}
	return foreignUse{typed, flag, r}, nil
}

// foreignWarnings says which flags are missed, once for each reason, and fails where one
// does not go with the flags of oakum that are given beside it.
func foreignWarnings(uses []foreignUse, given []option) ([]string, error) {
	var reasons []string
	flags := map[string][]string{} // as they were typed, by reason
	seen := map[string]bool{}
	for _, u := range uses {
		for _, o := range given {
			if slices.Contains(u.rule.not, o.name) {
				return nil, usagef("%s is not supported together with --%s: %s", u.typed, o.name, u.rule.words)
			}
		}
		if u.rule.verdict != missed || seen[u.flag] {
			continue
		}
		seen[u.flag] = true
		if flags[u.rule.words] == nil {
			reasons = append(reasons, u.rule.words)
		}
		flags[u.rule.words] = append(flags[u.rule.words], u.typed)
	}
	var warnings []string
	for _, words := range reasons {
		has := "has"
		if len(flags[words]) > 1 {
			has = "have"
		}
		warnings = append(warnings, fmt.Sprintf("%s %s no effect: %s", strings.Join(flags[words], ", "), has, words))
	}
	return warnings, nil
}

// variableUses judges the foreignVariables that are set for a command. A flag given
// counts more.
func variableUses(command string, given []foreignUse, lookup func(string) (string, bool)) ([]foreignUse, error) {
	if command != "build" {
		return nil, nil
	}
	var uses []foreignUse
	for _, v := range foreignVariables {
		f, _ := lookupForeign(command, v[1])
		value, ok := lookup(v[0])
		if !ok || value == "" || slices.ContainsFunc(given, func(u foreignUse) bool { return u.flag == "--"+v[1] }) {
			continue
		}
		use, err := f.use(v[0], value)
		if err != nil {
			return nil, err
		}
		uses = append(uses, use)
	}
	return uses, nil
}
