package isolation

import (
	"errors"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/builder/limits"
)

func TestCheckNetwork(t *testing.T) {
	t.Parallel()
	for _, n := range []Network{
		{}, {Mode: None, NoHosts: true, Hostname: "a"},
		{Mode: Private, Hosts: []string{"a.b-c_d:1.2.3.4", "x:host-gateway", "y:::1", "z:[2001:db8::1]"}, DNS: []string{"::1"}, Search: []string{"."}, Options: []string{"ndots:2"}},
	} {
		if err := (Options{Network: n}).Check(); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	for name, n := range map[string]Network{
		"mode": {Mode: "bridge"}, "both": {NoHosts: true, Hosts: []string{"a:1.2.3.4"}}, "no address": {Hosts: []string{"a"}}, "no name": {Hosts: []string{":1.2.3.4"}},
		"address": {Hosts: []string{"a:b"}}, "two words": {Hosts: []string{"a b:1.2.3.4"}}, "two lines": {Hosts: []string{"a\n2.2.2.2\tb:1.2.3.4"}}, "bracket": {Hosts: []string{"a:[::1"}},
		"zone": {Hosts: []string{"a:fe80::1%x\ty"}}, "server's zone": {DNS: []string{"fe80::1%x\nsearch evil"}},
		"server": {DNS: []string{"dns.example"}}, "lines": {Search: []string{"a\nnameserver 1.2.3.4"}}, "option": {Options: []string{""}},
		"name": {Hostname: "a b"}, "long": {Hostname: strings.Repeat("x", 65)},
	} {
		if err := (Options{Network: n}).Check(); !errors.Is(err, limits.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, text := range []string{"a:1.2.3.4", "a:host-gateway", "a:[::1]", "a:::1%eth0", "a:::1%e\nb", ":", "a\tb:::"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, address, err := ParseHost(text)
		if err != nil {
			if !errors.Is(err, limits.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		line := address.String() + "\t" + name
		if len(strings.Fields(line)) != 2 && address.IsValid() || strings.Contains(line, "\n") {
			t.Errorf("%q makes the line %q", text, line)
		}
	})
}
