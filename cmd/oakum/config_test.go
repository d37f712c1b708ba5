package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder/usage"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text  string
		want  []usage.Options
		fault string
	}{
		"nothing":         {},
		"how often alone": {text: "prune-every = \"1h\""},
		"rules": {
			text: "[[prune]]\nkeep-duration = \"48h\"\nall = true\nfilter = [\"type=layer\", \"mutable!=true\"]\n[[prune]]\nmax-used-space = \"20GB\"\nmin-free-space = \"1k\"\nreserved-space = \"512\"",
			want: []usage.Options{
				{Filter: []usage.Filter{{Key: "type", Op: "=", Value: "layer"}, {Key: "mutable", Op: "!=", Value: "true"}}, All: true, KeepDuration: 48 * time.Hour, Every: pruneSeldom},
				{MaxUsedSpace: 20 << 30, MinFreeSpace: 1 << 10, ReservedSpace: 512},
			},
		},
		"its own pace": {text: "prune-every = \"90s\"\n[[prune]]\nmax-used-space = \"1\"", want: []usage.Options{{MaxUsedSpace: 1, Every: 90 * time.Second}}},
		"no TOML":      {text: "prune", fault: "expected"},
		"no list":      {text: "[prune]\nmax-used-space = \"1\"", fault: "prune"},
		"other keys":   {text: "a = 1", fault: "a is not known"},
		"no time":      {text: "prune-every = \"x\"", fault: "prune-every"},
		"no duration":  {text: "[[prune]]\nkeep-duration = \"x\"", fault: "rule 1 of prune: keep-duration \"x\""},
		"no size":      {text: "[[prune]]\nmax-used-space = \"x\"", fault: "max-used-space \"x\""},
		"zero time":    {text: "[[prune]]\nkeep-duration = \"0s\"", fault: "keep-duration \"0s\""},
		"nothing used": {text: "[[prune]]\nmax-used-space = \"0\"", fault: "rule 1 of prune would empty"},
		"no reserve":   {text: "[[prune]]\nreserved-space = \"0B\"", fault: "rule 1 of prune would empty"},
		"nothing free": {text: "[[prune]]\nmax-used-space = \"1\"\nmin-free-space = \"0\"", fault: "rule 1 of prune: min-free-space \"0\" asks for nothing"},
		"none of some": {text: "[[prune]]\nmax-used-space = \"0\"\nmin-free-space = \"1\"", fault: "rule 1 of prune: max-used-space \"0\" lets"},
		"some of none": {text: "[[prune]]\nmax-used-space = \"0\"\nreserved-space = \"5\"", want: []usage.Options{{ReservedSpace: 5, Every: pruneSeldom}}},
		"no filter":    {text: "[[prune]]\nfilter = [\"x\"]", fault: "invalid filter"},
		"no limit":     {text: "[[prune]]\nmax-used-space = \"1\"\n[[prune]]\nall = true", fault: "rule 2 of prune would empty"},
	} {
		got, err := parsePolicy(test.text)
		switch {
		case test.fault != "":
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || !reflect.DeepEqual(got, test.want):
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
