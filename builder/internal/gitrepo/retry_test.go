//go:build linux

package gitrepo

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oakum-build/oakum/storage/retry"
)

// flaky fails as often as left says.
func flaky(left *atomic.Int32, code int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if left.Add(-1) >= 0 {
				w.WriteHeader(code)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestRetry(t *testing.T) {
	r := newRepos(t)
	r.commit("r", map[string]string{"f": "1"})
	for name, test := range map[string]struct {
		code  int
		times int32
		tries int
		ok    bool
	}{"busy": {503, 2, 2, true}, "for ever": {502, 99, 3, false}, "refused": {403, 99, 0, false}} {
		var left atomic.Int32
		left.Store(test.times)
		ref, err := Parse(r.serve(flaky(&left, test.code)) + "/r.git")
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		ref.Retry = retry.Policy{Delay: time.Millisecond, Notice: func(string) { told++ }}
		_, err = ref.Resolve(t.Context())
		if (err == nil) != test.ok || told != test.tries {
			t.Errorf("%s: tried again %d times, want %d (%v)", name, told, test.tries, err)
		}
	}
}

// A server that sends a little now and then ends at a limit.
func TestLongest(t *testing.T) {
	r := newRepos(t)
	url := r.serve(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		})
	})
	ref, err := Parse(url + "/r.git")
	if err != nil {
		t.Fatal(err)
	}
	ref.Longest = 500 * time.Millisecond
	began := time.Now()
	_, err = ref.Resolve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "has not ended after 500ms") || time.Since(began) > time.Minute {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// Credentials for one server do not go to that of a submodule.
func TestSubmodulesElsewhereGetNoCredentials(t *testing.T) {
	r := newRepos(t)
	leaked := ""
	elsewhere := r.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			leaked += req.Header.Get("Authorization")
			next.ServeHTTP(w, req)
		})
	})
	r.commit("sub", map[string]string{"s": "s"})
	r.commit("r", map[string]string{"f": "1"})
	r.git("r", "submodule", "add", "--quiet", elsewhere+"/sub.git", "m")
	r.commit("r", nil)
	files, err := fetchWith(t, r.serve(guard)+"/r.git", header)
	if err != nil || files["m/s"] != "s" || leaked != "" {
		t.Errorf("%v, %v, leaked %q", files, err, leaked)
	}
	basic := r.serve(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if user, _, _ := req.BasicAuth(); user != "me" {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, req)
		})
	})
	files, err = fetchWith(t, strings.Replace(basic, "//", "//me:TOKEN@", 1)+"/r.git", "")
	if err != nil || files["m/s"] != "s" || leaked != "" {
		t.Errorf("in the URL: %v, %v, leaked %q", files, err, leaked)
	}
}
