package dockerfile

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

func TestEvents(t *testing.T) {
	const text = "FROM base AS a\nENV A=1\nFROM a\nRUN \\\n  x\nCOPY --from=a x /\n"
	var got []string
	output := ""
	options := func(_ *fake, o *Options) {
		got, output = nil, ""
		o.BuildArgs = arguments(map[string]string{"VERSON": "1", "HTTP_PROXY": "x", "TARGETOS": "linux"})
		o.Progress = func(e Event) {
			if e.Time.IsZero() {
				t.Error("an event has no time")
			}
			if e.Kind == StepOutput { // in as many pieces as it comes
				output += string(e.Output)
				return
			}
			got = append(got, fmt.Sprintf("%s %d/%d %s %q %d cached=%v %q %s",
				e.Kind, e.Step, e.Total, e.Stage, e.Instruction, e.Line, e.Cached, output, e.Text))
		}
	}
	f := mustBuild(t, text, options)
	want := func(output string, cached bool) []string {
		return []string{
			`started 1/5 a "FROM base AS a" 1 cached=false "" `,
			`finished 1/5 a "FROM base AS a" 1 cached=false "" `,
			`started 2/5 a "ENV A=1" 2 cached=false "" `,
			`finished 2/5 a "ENV A=1" 2 cached=false "" `,
			`started 3/5 1 "FROM a" 3 cached=false "" `,
			`finished 3/5 1 "FROM a" 3 cached=false "" `,
			`started 4/5 1 "RUN   x" 4 cached=false "" `,
			fmt.Sprintf(`finished 4/5 1 "RUN   x" 4 cached=%v %q `, cached, output),
			fmt.Sprintf(`started 5/5 1 "COPY --from=a x /" 6 cached=false %q `, output),
			fmt.Sprintf(`finished 5/5 1 "COPY --from=a x /" 6 cached=%v %q `, cached, output),
			fmt.Sprintf(`warning 0/0  "" 0 cached=false %q build argument VERSON is not used: no ARG declares it`, output),
		}
	}
	equal(t, "events", got, want("out\nerr\n", false))
	if _, err := buildOn(t, f, text, options); err != nil {
		t.Fatal(err)
	}
	equal(t, "events of the same again", got, want("", true))
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
		o.Steps.Jobs = 4
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
	equal(t, "environment", f.beyondConfig(f.cmds[0].Env), []string{"A=env", "B=default"})
}
