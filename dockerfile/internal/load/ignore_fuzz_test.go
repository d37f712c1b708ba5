package load

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/patternmatcher"

	"github.com/oakum-build/oakum/builder/limits"
)

// FuzzIgnoreFile looks for ignore files that are taken, and with which it takes long to say
// whether a path is left out.
func FuzzIgnoreFile(f *testing.F) {
	f.Add("**/a\n!b\n# c\n", "a/b")
	f.Add(strings.Repeat("**/", 200)+"x\n", strings.Repeat("a/", 30))
	f.Add(strings.Repeat("*a", 500)+"\n[!x]?\\*\n", "aaaa")
	f.Fuzz(func(t *testing.T, text, name string) {
		patterns, err := parseIgnore(".dockerignore", []byte(text))
		if err != nil {
			var limit *limits.LimitError
			if errors.As(err, &limit) && limit.Limit == 0 {
				t.Errorf("the error names no limit: %v", err)
			}
			return
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			t.Fatalf("%q was taken: %v", text, err)
		}
		start := time.Now()
		_, _ = m.MatchesOrParentMatches(name[:min(len(name), 64)])
		if took := time.Since(start); took > 2*time.Minute {
			t.Errorf("one path took %v with %d bytes of patterns", took, len(text))
		}
	})
}
