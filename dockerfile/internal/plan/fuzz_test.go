package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// FuzzParse looks for Dockerfiles that crash the plan, and checks what every plan
// and every fault holds: that a stage needs only stages before it, and that a
// fault's lines are lines of the file.
func FuzzParse(f *testing.F) {
	f.Add("ARG A=1\nFROM x AS a\nARG A\nONBUILD COPY --from=y . /\nFROM a\nRUN <<E\n$A\nE\n", "", "A")
	f.Fuzz(func(t *testing.T, text, target, arg string) {
		p, err := New([]byte(text), Options{Target: target, Args: map[string]string{arg: "value"}})
		if err != nil {
			checkFault(t, text, err)
			return
		}
		needed := p.Needed()
		if len(needed) == 0 || needed[len(needed)-1] != p.Target {
			t.Fatalf("the target is not the last of what is needed: %s", names(needed))
		}
		for _, s := range needed {
			if (s.Base == nil) == (s.Image == "") || (s.Base != nil && s.Base.Index >= s.Index) {
				t.Fatalf("stage %d starts from %v and %q", s.Index, s.Base, s.Image)
			}
			walk(t, p, s)
		}
		p.Unused()
		p.ProxyEnv()
	})
}

// walk does what a build does with a stage's instructions.
func walk(t *testing.T, p *Plan, s *Stage) {
	scope := p.Scope(nil, []string{"PATH=/bin"})
	for _, c := range s.Commands {
		if c.From != nil && c.From.Index >= s.Index {
			t.Fatalf("stage %d copies from stage %d", s.Index, c.From.Index)
		}
		if scope.Expand(c.Command) != nil {
			return
		}
		switch ic := c.Command.(type) {
		case *instructions.ArgCommand:
			if _, err := scope.Declare(ic); err != nil {
				return
			}
		case *instructions.RunCommand:
			args, _, err := RunArgs(ic, nil)
			if err != nil || len(args) == 0 {
				t.Fatalf("RUN without arguments passed the plan: %v", err)
			}
			_, _ = scope.RunHistory(args)
		case *instructions.CopyCommand, *instructions.AddCommand:
			_ = CheckFiles(ic)
		case *instructions.OnbuildCommand:
			_, _ = p.Triggers(s, []string{ic.Expression})
		}
	}
	scope.RunEnv(nil)
}

func checkFault(t *testing.T, text string, err error) {
	var f *Fault
	if !errors.As(err, &f) || f.Err == nil || f.Error() == "" {
		t.Fatalf("%v is no *Fault", err)
	}
	if count := strings.Count(text, "\n") + 1; f.Line < 0 || f.End < f.Line || f.End > count {
		t.Fatalf("lines %d to %d of %d: %v", f.Line, f.End, count, err)
	}
}
