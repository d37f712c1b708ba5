package dockerfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/buildertest"
)

// Who looks at a RUN that failed is told which it is and what its shell is, and can run commands there.
func TestOnError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text  string
		line  int
		shell []string
	}{
		"default":           {"FROM scratch AS s\nRUN bad\n", 2, []string{"/bin/sh"}},
		"SHELL":             {"FROM scratch AS s\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN bad\n", 3, []string{"/bin/bash", "-o", "pipefail"}},
		"another SHELL":     {"FROM scratch AS s\nSHELL [\"/pwsh\", \"-command\"]\n\nRUN bad\n", 4, []string{"/pwsh"}},
		"the exec form":     {"FROM scratch AS s\nRUN [\"bad\"]\n", 2, []string{"/bin/sh"}},
		"none that has one": {"FROM scratch AS s\nCOPY nothing /\n", 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := buildertest.New(t, buildertest.Options{Run: func(_ context.Context, cmd builder.Cmd, files buildertest.Files) (int, error) {
				if slices.Contains(cmd.Args, "see") {
					data, err := files.ReadFile("/left")
					fmt.Fprintf(cmd.Stdout, "%s %q", data, cmd.Env)
					return 0, err
				}
				return 3, files.WriteFile("/left", []byte("left"), 0o644)
			}})
			var seen []Failed
			var out bytes.Buffer
			opts := Options{File: File{Text: strings.NewReader(test.text)}, Context: Context{Dir: t.TempDir()}}
			opts.Steps.OnError = func(ctx context.Context, failed Failed) {
				seen = append(seen, failed)
				if err := failed.Run(ctx, builder.Cmd{Args: []string{"see"}, Env: []string{"A=b"}, Stdout: &out}); err != nil {
					t.Error(err)
				}
			}
			_, err := Build(t.Context(), b, opts)
			if test.shell == nil {
				if err == nil || len(seen) > 0 {
					t.Errorf("%v, and %+v was called", err, seen)
				}
				return
			}
			var exit *builder.ExitError
			if !errors.As(err, &exit) || exit.Code != 3 || len(seen) != 1 {
				t.Fatalf("%v, called %d times", err, len(seen))
			}
			got := seen[0]
			if got.Line != test.line || got.Stage != "s" || !strings.HasPrefix(got.Instruction, "RUN ") || !slices.Equal(got.Shell, test.shell) || got.Err.Code != 3 {
				t.Errorf("got %+v", got)
			}
			if !strings.HasPrefix(out.String(), "left ") || !strings.Contains(out.String(), `"A=b"`) {
				t.Errorf("a command there saw %s", out.String())
			}
		})
	}
}
