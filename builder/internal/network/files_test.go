package network

import (
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/isolation"
)

func TestResolvFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		machine string
		asked   isolation.Network
		own     bool
		want    string
	}{
		"the machine's":          {"# text\nnameserver 127.0.0.53\noptions edns0\n", isolation.Network{}, false, "# text\nnameserver 127.0.0.53\noptions edns0\n"},
		"others' of its own":     {"# text\nnameserver 9.9.9.9\nnameserver 2001:db8::1\n", isolation.Network{}, true, "# text\nnameserver 9.9.9.9\nnameserver 2001:db8::1\n"},
		"on loopback":            {"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.example b.example\n", isolation.Network{}, true, "search a.example b.example\nnameserver 10.0.2.3\noptions edns0 trust-ad\n"},
		"on loopback first":      {"nameserver 127.0.0.1\nnameserver 9.9.9.9\n", isolation.Network{}, true, "nameserver 10.0.2.3\nnameserver 9.9.9.9\n"},
		"on loopback last":       {"nameserver 9.9.9.9\nnameserver 127.0.0.1\n", isolation.Network{}, true, "nameserver 9.9.9.9\n"},
		"on loopback, by IPv6":   {"nameserver ::1\nnameserver 9.9.9.9\n", isolation.Network{}, true, "nameserver 9.9.9.9\n"},
		"given":                  {"nameserver 127.0.0.53\nsearch a.example\noptions edns0\n", isolation.Network{DNS: []string{"1.1.1.1", "::2"}}, true, "search a.example\nnameserver 1.1.1.1\nnameserver ::2\noptions edns0\n"},
		"given, on the machine":  {"nameserver 127.0.0.53\n", isolation.Network{DNS: []string{"1.1.1.1"}}, false, "nameserver 1.1.1.1\n"},
		"search":                 {"nameserver 127.0.0.53\ndomain a.example\n", isolation.Network{Search: []string{"x.example", "y"}}, false, "search x.example y\nnameserver 127.0.0.53\n"},
		"no search":              {"nameserver 9.9.9.9\nsearch a.example\n", isolation.Network{Search: []string{"."}}, true, "nameserver 9.9.9.9\n"},
		"options":                {"nameserver 9.9.9.9\noptions edns0\n", isolation.Network{Options: []string{"ndots:2", "rotate"}}, true, "nameserver 9.9.9.9\noptions ndots:2 rotate\n"},
		"nothing of the machine": {"", isolation.Network{}, true, ""},
	} {
		if got := (Machine{Resolv: test.machine}).ResolvFile(test.asked, test.own); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	t.Parallel()
	m := Machine{Hosts: "127.0.0.1 localhost laptop\n::1 ip6-localhost\n127.0.1.1 laptop.example\n# comment\n\n192.0.2.9 registry # ours\n"}
	asked := isolation.Network{Hosts: []string{"a:192.0.2.1", "b:::1", "c:[2001:db8::2]"}}
	const first = "192.0.2.1\ta\n::1\tb\n2001:db8::2\tc\n"
	got, err := m.HostsFile(asked, false)
	if want := first + m.Hosts; err != nil || got != want {
		t.Errorf("on the machine's network: %q, %v, want %q", got, err, want)
	}
	got, err = m.HostsFile(asked, true)
	if want := first + "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.9 registry # ours\n"; err != nil || got != want {
		t.Errorf("on its own: %q, %v, want %q", got, err, want)
	}
	got, err = Machine{}.HostsFile(isolation.Network{Hosts: []string{"gw:host-gateway"}}, false)
	if err != nil || got != "127.0.0.1\tgw\n" {
		t.Errorf("the machine on its own network: %q, %v", got, err)
	}
	got, err = Machine{}.HostsFile(isolation.Network{Hosts: []string{"gw:host-gateway"}}, true)
	if err != nil || !strings.HasSuffix(strings.SplitN(got, "\n", 2)[0], "\tgw") || strings.HasPrefix(got, "127.") {
		t.Errorf("the machine from another: %q, %v", got, err)
	}
}
