package dockerfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// FuzzBuild builds Dockerfiles with a backend that does nothing: the build must end,
// close all it opened, and give every fault its place.
func FuzzBuild(f *testing.F) {
	f.Add("FROM base AS a\nARG A=1\nENV B=$A\nRUN x\nONBUILD COPY --from=tool / /\nFROM a\nEXPOSE 1-3 $P\nCOPY --from=0 b c\n", "RUN <<E\n$A\nE", 1)
	f.Add("FROM trig\nCOPY <<a /b\n$A\na\nVOLUME $V\nSTOPSIGNAL ${S:-9}\nWORKDIR ../x\n", "COPY --from=0 a b", 2)
	f.Fuzz(func(t *testing.T, text, trigger string, jobs int) {
		back := &fake{images: map[string]builder.Config{
			"base": {}, "tool": {Env: []string{"PATH=/bin", "A"}}, "trig": {OnBuild: []string{trigger}},
		}}
		opts := Options{Context: Context{Dir: "ctx"}, Steps: Steps{Jobs: 1 + jobs&3}, Progress: func(Event) {}}
		r, err := newBuilding(t.Context(), back.builder(t), opts, loadText(t, text, opts), "", newShared(opts))
		if err == nil {
			_, err = r.stages(t.Context())
			r.close()
		}
		if back.open != 0 {
			t.Errorf("%d stages left open", back.open)
		}
		var located *Error
		if err != nil && !errors.As(err, &located) {
			t.Errorf("error without a place: %v", err)
		}
		if located != nil && located.Line > 0 && !strings.Contains(located.Excerpt, ">>>") {
			t.Errorf("no line marked for %v", located)
		}
	})
}
