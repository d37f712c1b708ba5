package dockerfile

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestEvents(t *testing.T) {
	var got []string
	mustBuild(t, "FROM base AS a\nENV A=1\nFROM a\nRUN \\\n  x\nCOPY --from=a x /\n", func(_ *fake, o *Options) {
		o.BuildArgs = arguments(map[string]string{"VERSON": "1", "HTTP_PROXY": "x", "TARGETOS": "linux"})
		o.Progress = func(e Event) {
			if e.Time.IsZero() {
				t.Error("an event has no time")
			}
			got = append(got, fmt.Sprintf("%s %d/%d %s %q %d cached=%v %q %s",
				e.Kind, e.Step, e.Total, e.Stage, e.Instruction, e.Line, e.Cached, e.Output, e.Text))
		}
	})
	equal(t, "events", got, []string{
		`started 1/5 a "FROM base AS a" 1 cached=false "" `,
		`finished 1/5 a "FROM base AS a" 1 cached=false "" `,
		`started 2/5 a "ENV A=1" 2 cached=false "" `,
		`finished 2/5 a "ENV A=1" 2 cached=false "" `,
		`started 3/5 1 "FROM a" 3 cached=false "" `,
		`finished 3/5 1 "FROM a" 3 cached=false "" `,
		`started 4/5 1 "RUN   x" 4 cached=false "" `,
		`output 4/5 1 "RUN   x" 4 cached=false "out\n" `,
		`output 4/5 1 "RUN   x" 4 cached=false "err\n" `,
		`finished 4/5 1 "RUN   x" 4 cached=true "" `,
		`started 5/5 1 "COPY --from=a x /" 6 cached=false "" `,
		`finished 5/5 1 "COPY --from=a x /" 6 cached=true "" `,
		`warning 0/0  "" 0 cached=false "" build argument VERSON is not used: no ARG declares it`,
	})
}

// TestEventsOfTriggers: the total grows by an image's triggers.
func TestEventsOfTriggers(t *testing.T) {
	var got []string
	mustBuild(t, "FROM trig\n", func(f *fake, o *Options) {
		f.images["trig"] = builder.Config{OnBuild: []string{"ARG VERSION", "RUN x"}}
		o.BuildArgs = arguments(map[string]string{"VERSION": "1"})
		o.Progress = func(e Event) {
			if e.Kind != StepOutput {
				got = append(got, fmt.Sprintf("%s %d/%d %q %d", e.Kind, e.Step, e.Total, e.Instruction, e.Line))
			}
		}
	})
	equal(t, "events", got, []string{
		`started 1/1 "FROM trig" 1`, `finished 1/1 "FROM trig" 1`,
		`started 2/3 "ONBUILD ARG VERSION" 1`, `finished 2/3 "ONBUILD ARG VERSION" 1`,
		`started 3/3 "ONBUILD RUN x" 1`, `finished 3/3 "ONBUILD RUN x" 1`,
	})
}

func TestUnusedArgumentHint(t *testing.T) {
	var warnings []string
	mustBuild(t, "FROM base\nARG VERSION\n", func(_ *fake, o *Options) {
		o.BuildArgs = arguments(map[string]string{"VERSON": "1"})
		o.Progress = func(e Event) {
			if e.Kind == Warning {
				warnings = append(warnings, e.Text)
			}
		}
	})
	equal(t, "warnings", warnings, []string{"build argument VERSON is not used: no ARG declares it; did you mean VERSION?"})
}

// TestEventsComeOneAtATime: the sink is never called by two goroutines at once.
func TestEventsComeOneAtATime(t *testing.T) {
	var inside atomic.Int32
	text := ""
	for _, name := range []string{"a", "b", "c", "d"} {
		text += "FROM base AS " + name + "\nRUN x\nRUN y\n"
	}
	text += "FROM base\nCOPY --from=a / /\nCOPY --from=b / /\nCOPY --from=c / /\nCOPY --from=d / /\n"
	started := 0
	mustBuild(t, text, func(_ *fake, o *Options) {
		o.Jobs = 4
		o.Progress = func(e Event) {
			if inside.Add(1) != 1 {
				t.Error("two events at once")
			}
			if e.Kind == StepStarted {
				if started++; e.Step != started {
					t.Errorf("step %d started as number %d", e.Step, started)
				}
			}
			inside.Add(-1)
		}
	})
	if started != 17 {
		t.Errorf("%d steps", started)
	}
}

// TestBuildArgsFromTheEnvironment: an argument without a value is looked up.
func TestBuildArgsFromTheEnvironment(t *testing.T) {
	f := mustBuild(t, "FROM base\nARG A=default\nARG B=default\nRUN x\n", func(_ *fake, o *Options) {
		o.BuildArgs = map[string]*string{"A": nil, "B": nil}
		o.LookupEnv = func(name string) (string, bool) { return "env", name == "A" }
	})
	equal(t, "environment", f.cmds[0].Env, []string{"A=env", "B=default"})
}
