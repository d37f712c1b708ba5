package isolation

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/limits"
)

func TestParseCapability(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"chown": "CAP_CHOWN", "CAP_SYS_ADMIN": "CAP_SYS_ADMIN", "cap_Net_Raw": "CAP_NET_RAW", "all": "ALL", "ALL": "ALL", "checkpoint_restore": "CAP_CHECKPOINT_RESTORE",
		"": "", "CAP_": "", "CAP_ALL": "", "CAP_CAP_CHOWN": "", "chown,kill": "", " chown": "", "41": "",
	} {
		got, err := parseCapability(text)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// The places of the names are their numbers.
func TestCapabilityNumbers(t *testing.T) {
	t.Parallel()
	for name, number := range map[string]int{"CAP_CHOWN": 0, "CAP_SETPCAP": 8, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27, "CAP_SETFCAP": 31, "CAP_MAC_OVERRIDE": 32, "CAP_CHECKPOINT_RESTORE": 40} {
		if AllCapabilities()[number] != name {
			t.Errorf("%d is %s", number, AllCapabilities()[number])
		}
	}
	if len(AllCapabilities()) != 41 || len(DockerCapabilities()) != 14 {
		t.Errorf("%d, %d", len(AllCapabilities()), len(DockerCapabilities()))
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ add, drop, held, want, lacking string }{
		{"", "", "CHOWN KILL NET_RAW SYS_ADMIN", "CHOWN KILL NET_RAW", ""},
		{"", "", "CHOWN SYS_ADMIN", "CHOWN", ""},
		{"sys_admin", "", "CHOWN SYS_ADMIN", "CHOWN SYS_ADMIN", ""},
		{"sys_admin net_admin", "", "CHOWN", "CHOWN", "NET_ADMIN SYS_ADMIN"},
		{"", "net_raw cap_kill", "CHOWN KILL NET_RAW", "CHOWN", ""},
		{"", "ALL", "CHOWN KILL", "", ""},
		{"chown", "all", "CHOWN KILL", "CHOWN", ""},
		{"all", "", "CHOWN SYS_TIME", "CHOWN SYS_TIME", ""},
		{"all", "sys_time", "CHOWN SYS_TIME", "CHOWN", ""},
		{"kill", "kill", "CHOWN KILL", "CHOWN", ""},
		{"bpf", "bpf", "CHOWN", "CHOWN", ""},
	} {
		set, lacking, err := Security{Add: strings.Fields(c.add), Drop: strings.Fields(c.drop)}.Capabilities(DockerCapabilities(), prefixed(strings.Fields(c.held)))
		if err != nil || !slices.Equal(set, prefixed(strings.Fields(c.want))) || len(lacking) != len(strings.Fields(c.lacking)) || len(lacking) > 0 && !slices.Equal(lacking, prefixed(strings.Fields(c.lacking))) {
			t.Errorf("%+v: got %q, lacking %q, %v", c, set, lacking, err)
		}
	}
	for _, lists := range [][2]string{{"all", "all"}, {"none", ""}, {"", "none"}} {
		s := Security{Add: strings.Fields(lists[0]), Drop: strings.Fields(lists[1])}
		if _, _, err := s.Capabilities(DockerCapabilities(), AllCapabilities()); !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%q: %v", lists, err)
		}
	}
}
