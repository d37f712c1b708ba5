package dockerfile

import "testing"

// A credential that names no host goes to the host that the caller named, and never to
// one that a Dockerfile names.
func TestGitCredentialsWithoutHost(t *testing.T) {
	const evil = "https://evil.example/r.git"
	for name, test := range map[string]struct {
		opts Options
		ref  string
		want bool
	}{
		"another host":                       {Options{}, evil, false},
		"another host, with a context":       {Options{Context: Context{URL: "https://git.example:8443/r.git"}}, evil, false},
		"another port":                       {Options{Context: Context{URL: "https://git.example:8443/r.git"}}, "https://git.example/r.git", false},
		"the context's":                      {Options{Context: Context{URL: "https://git.example:8443/r.git#main"}}, "https://GIT.example:8443/sub.git", true},
		"github.com":                         {Options{}, "https://github.com/a/b.git", true},
		"github.com, short":                  {Options{}, "github.com/a/b", true},
		"github.com by name":                 {Options{Context: Context{URL: "github.com/a/b"}}, "https://github.com/c/d.git", true},
		"a host like it":                     {Options{}, "https://github.com.evil.example/a/b.git", false},
		"a user like it":                     {Options{}, "https://github.com@evil.example/a/b.git", false},
		"github.com, with another context":   {Options{Context: Context{URL: "https://git.example/r.git"}}, "https://github.com/a/b.git", false},
		"an archive is no repository":        {Options{Context: Context{URL: "https://evil.example/c.tgz"}}, evil, false},
		"a named context's":                  {Options{Context: Context{Named: map[string]string{"n": "https://git.example/r.git"}}}, "https://git.example/s.git", true},
		"one of two named contexts'":         {Options{Context: Context{Named: map[string]string{"n": "https://git.example/r.git", "m": evil}}}, evil, false},
		"the context's before a named one's": {Options{Context: Context{URL: "https://git.example/r.git", Named: map[string]string{"n": evil}}}, evil, false},
		"ssh takes none":                     {Options{Context: Context{URL: "ssh://git@git.example/r.git"}}, "ssh://git@git.example/r.git", false},
	} {
		got := false
		for _, c := range test.opts.credentials(test.ref, true) {
			got = got || c.id == "GIT_AUTH_TOKEN"
		}
		if got != test.want {
			t.Errorf("%s: the token goes there: %t, want %t", name, got, test.want)
		}
	}
}
