//go:build linux

package owners

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel or a filter that does not know listxattrat makes no difference.
func TestAttributesAreListedWithoutTheCall(t *testing.T) {
	kinds(t, func(t *testing.T, dir *os.File, _ *Owners) {
		create(t, dir, "file")
		ok(t, unix.Setxattr(dir.Name()+"/file", "user.name", []byte("value"), 0), os.Symlink("file", dir.Name()+"/link"))
		refused := func(errno unix.Errno) func(int, string, []byte) (int, error) {
			return func(int, string, []byte) (int, error) { return 0, errno }
		}
		for what, at := range map[string]func(int, string, []byte) (int, error){
			"the call":      listxattrat,
			"an old kernel": refused(unix.ENOSYS),
			"a filter":      refused(unix.EPERM),
		} {
			for name, want := range map[string]string{"file": "user.name\x00", "link": ""} {
				if got, err := listed(dir, name, at); err != nil || string(got) != want {
					t.Errorf("%s: %s has %q, not %q: %v", what, name, got, want, err)
				}
			}
			if got, err := listed(dir, "absent", at); !errors.Is(err, unix.ENOENT) {
				t.Errorf("%s: an absent file has %q: %v", what, got, err)
			}
		}
		if _, err := listxattrat(int(dir.Fd()), "absent\x00file", nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("a name with a zero byte: %v", err)
		}
	})
}
