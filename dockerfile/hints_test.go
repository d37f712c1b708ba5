package dockerfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder"
)

// TestHints: mistakes that are often made are told with what to do.
func TestHints(t *testing.T) {
	shell := &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 127, Reason: "stat /bin/sh: no such file or directory"}
	failed := &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 1}
	sigsys := &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 159}
	denied := &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 126, Reason: "stat /bin/sh: permission denied"}
	format := &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 126, Reason: "exec format error: the image is for another machine"}
	missing := fmt.Errorf("x: %w", builder.ErrNotFound)
	for text, test := range map[string]struct {
		fails error
		hint  string
	}{
		"FROM base AS\n":                              {hint: "FROM [--platform=PLATFORM] IMAGE [AS NAME]"},
		"FROM base\nENV A\n":                          {hint: "ENV NAME=VALUE"},
		"FROM base\nENV A=b c\n":                      {hint: `NAME="VALUE"`},
		"FROM base\nENV A=\"b\n":                      {hint: "quotes end in the instruction"},
		"FROM base\nSHELL /bin/sh\n":                  {hint: `SHELL ["PROGRAM"`},
		"FROM base\nHEALTHCHECK --interval=5 CMD x\n": {hint: "5s or 5m"},
		"FROM base\nRUN <<E\nx\n":                     {hint: "delimiter alone"},
		"FROM base\nCOPY --chown a b\n":               {hint: "--chown=VALUE"},
		"FROM base\nRUN [\"a\", 'b']\n":               {fails: failed, hint: "no JSON array"},
		"FROM base\nRUN [ -f /x ]\n":                  {fails: failed},
		"FROM base\nRUN [[ -f /x ]] && x\n":           {fails: &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 127}},
		"FROM base\nRUN [ab cd]\n":                    {fails: &builder.ExitError{Args: []string{"/bin/sh", "-c", "x"}, Code: 127}, hint: "no JSON array"},
		"FROM base\nRUN x\n":                          {fails: shell, hint: "the shell form needs /bin/sh"},
		"FROM base\nUSER 7\nRUN x\n":                  {fails: denied, hint: "7 may not run /bin/sh: the file needs permission"},
		"FROM base\nRUN [\"x\"]\n":                    {fails: denied, hint: "root may not run x: "},
		"FROM base\nRUN z\n":                          {fails: format},
		"FROM base\nRUN old\n":                        {fails: sigsys, hint: map[bool]string{true: "32-bit programs run only"}[runtime.GOARCH == "amd64"]},
		"FROM base\nRUN y\n":                          {fails: failed},
		"FROM base\nCOPY ap.py /\n":                   {fails: missing, hint: "; did you mean app.py?"},
		"FROM base\nADD sub/ap.py sub/b /\n":          {fails: missing, hint: "; did you mean sub/app.py?"},
		"FROM base\nCOPY ../x /\n":                    {fails: missing, hint: ", and cannot be outside of it"},
		"FROM base\nCOPY none/ap.py /\n":              {fails: missing, hint: "sources are looked up in the build context, "},
	} {
		_, err := buildText(t, text, func(f *fake, o *Options) {
			writeFile(t, filepath.Join(o.Context.Dir, "app.py"), "")
			if err := os.Mkdir(filepath.Join(o.Context.Dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(o.Context.Dir, "sub/app.py"), "")
			f.failAll = test.fails
		})
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Hint, test.hint) || test.hint == "" && e.Hint != "" {
			t.Errorf("%q: %v (%+v)", text, err, e)
		}
	}
	_, err := buildText(t, "FROM base\nENV A=${B\n", nil)
	if err == nil || !strings.Contains(err.Error(), "missing '}'") {
		t.Errorf("got %v", err)
	}
}
