//go:build linux

package builder_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/event"
)

// A download that fails for a reason that may pass is tried again, which is told; the file
// is then what came whole.
func TestDownloadsAreTriedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var warnings []string
	b := openIn(t, builder.Options{Root: tempDir(t), RetryDelay: time.Millisecond, Events: func(e event.Event) {
		if e.Kind == event.Warning {
			mu.Lock()
			defer mu.Unlock()
			warnings = append(warnings, e.Text)
		}
	}})
	for name, test := range map[string]struct {
		fault http.HandlerFunc
		times int32
		tries int // further ones
		ok    bool
	}{
		"busy": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 2, 2, true},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, "longer than it")
		}, 1, 1, true},
		"for-ever": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, 99, 3, false},
		"refused":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 99, 0, false},
	} {
		var left atomic.Int32
		left.Store(test.times)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if left.Add(-1) >= 0 {
				test.fault(w, r)
				return
			}
			fmt.Fprint(w, "content")
		}))
		warnings = nil
		st := base(t, b)
		_, err := st.Add(t.Context(), "/f", builder.URL(s.URL+"/"+name))
		if (err == nil) != test.ok || err != nil && !errors.Is(err, builder.ErrFetch) {
			t.Errorf("%s: %v", name, err)
		}
		if test.ok {
			equal(t, sh(t, st, "cat /f"), "content")
		}
		mu.Lock()
		if len(warnings) != test.tries || test.tries > 0 && !strings.Contains(warnings[0], "trying again in 1ms (1 of 3)") {
			t.Errorf("%s: told %q, want %d times", name, warnings, test.tries)
		}
		mu.Unlock()
		s.Close()
	}
}
