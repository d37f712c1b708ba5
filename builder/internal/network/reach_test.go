//go:build linux

package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// services are listeners of the machine's, which write down who came.
type services struct {
	mu   sync.Mutex
	came map[string]bool
	port int // of all of them
}

func (s *services) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came[name] = true
}

func (s *services) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.came[name]
}

// listen has services listen on one port of each address, by TCP and UDP.
func listen(t testing.TB, addresses ...netip.Addr) *services {
	t.Helper()
	s := &services{came: map[string]bool{}}
	var servers []server
	for tries := 0; len(servers) < len(addresses); tries++ {
		at, err := bind(addresses[len(servers)], s.port)
		switch {
		case err == nil:
			s.port, servers = at.tcp.Addr().(*net.TCPAddr).Port, append(servers, at)
		case errors.Is(err, unix.EADDRINUSE) && tries < 20: // by somebody else on this machine
			for _, other := range servers {
				other.close()
			}
			s.port, servers = 0, nil
		default:
			t.Fatal(err)
		}
	}
	for i, at := range servers {
		t.Cleanup(at.close)
		go s.serve(addresses[i], at)
	}
	return s
}

// server is what listens at an address.
type server struct {
	tcp *net.TCPListener
	udp *net.UDPConn
}

func bind(address netip.Addr, port int) (s server, err error) {
	if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(port)))); err != nil {
		return s, err
	}
	port = s.tcp.Addr().(*net.TCPAddr).Port
	if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, uint16(port)))); err != nil {
		s.tcp.Close()
	}
	return s, err
}

func (s server) close() {
	s.tcp.Close()
	s.udp.Close()
}

// serve notes who comes to an address.
func (s *services) serve(address netip.Addr, at server) {
	go func() {
		for conn, err := at.tcp.Accept(); err == nil; conn, err = at.tcp.Accept() {
			s.note("tcp " + address.String())
			conn.Close()
		}
	}()
	for b := make([]byte, 64); ; {
		n, _, err := at.udp.ReadFrom(b)
		if err != nil {
			return
		}
		s.note("udp " + address.String() + " " + string(b[:n]))
	}
}

// inside runs a function on a thread that is in a leased namespace, and is thrown away.
func inside(t testing.TB, l *Lease, do func() error) {
	t.Helper()
	f, err := l.File(t.Context())
	ok(t, err)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever
		err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	ok(t, <-done)
}

// Nothing that listens on the machine's loopback can be reached from a connected namespace: not by its
// address, the gateway's or the nameserver's, not on the device that leads out, and not by packets that a
// command makes. What listens on the machine's outer address can.
func TestReach(t *testing.T) {
	outer, err := gateway(true)
	ok(t, err)
	loop4, loop6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, name := range []string{"pasta", "slirp4netns"} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, named(name)...)
			l := p.Take(Connected)
			defer l.Release(true)
			s := listen(t, loop4, loop6, outer)
			others := []netip.Addr{netip.MustParseAddr(gateway4), netip.MustParseAddr(gateway6), netip.MustParseAddr(nameserver), netip.MustParseAddr("127.0.0.9")}
			inside(t, l, func() error {
				for _, address := range append(others, loop4, loop6) {
					for _, device := range []string{"", device} {
						if err := dial(address, s.port, device, 300*time.Millisecond); err == nil {
							t.Errorf("%s on device %q was reached", address, device)
						}
					}
				}
				return craft(s.port, outer, others)
			})
			last := "udp " + outer.String() + " " + outer.String()
			for deadline := time.Now().Add(2 * time.Minute); !s.has(last); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the packet to the outer address, the last one, has not come")
				}
			}
			inside(t, l, func() error { return dial(outer, s.port, "", time.Minute) })
			s.mu.Lock()
			defer s.mu.Unlock()
			for name := range s.came {
				if name != last && name != "tcp "+outer.String() && name != "udp "+outer.String()+" dialled" {
					t.Errorf("%s was reached", name)
				}
			}
		})
	}
}

// dial connects by TCP and sends something by UDP, from a device if one is named. The error is TCP's.
func dial(address netip.Addr, port int, device string, patience time.Duration) error {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		if device == "" {
			return nil
		}
		var bound error
		return errors.Join(c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), device) }), bound)
	}}
	to := netip.AddrPortFrom(address, uint16(port)).String()
	if conn, err := d.Dial("udp", to); err == nil {
		_, _ = conn.Write([]byte("dialled"))
		conn.Close()
	}
	conn, err := d.Dial("tcp", to)
	if err == nil {
		conn.Close()
	}
	return err
}

// craft sends packets of its own making out of the device: to all addresses by which a machine reaches
// itself, by TCP and UDP, and at last by UDP to the outer address. What is sent by UDP is the address.
func craft(port int, outer netip.Addr, others []netip.Addr) error {
	iface, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	addresses := others
	for _, text := range []string{"127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1"} {
		addresses = append(addresses, netip.MustParseAddr(text))
	}
	source := 40000                      // each connection's own: pasta spins at the same one twice
	for _, bypass := range []int{0, 1} { // of the queue, where other filters are
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, bypass); err != nil {
			return err
		}
		for _, to := range append(addresses, outer) {
			for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				source++
				err := unix.Sendto(fd, frame(iface.HardwareAddr, to, source, port, protocol), 0, &unix.SockaddrLinklayer{Ifindex: iface.Index})
				if err != nil && !errors.Is(err, unix.ENOBUFS) { // it was dropped
					return fmt.Errorf("sending to %s: %w", to, err)
				}
			}
		}
	}
	return nil
}

// frame is an Ethernet frame with a packet to an address: the first of a connection by TCP, or one of UDP
// whose text is the address.
func frame(from net.HardwareAddr, to netip.Addr, source, port int, protocol byte) []byte {
	segment := binary.BigEndian.AppendUint16(nil, uint16(source))
	segment = binary.BigEndian.AppendUint16(segment, uint16(port))
	if protocol == unix.IPPROTO_TCP {
		segment = append(segment, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2 /* SYN */, 0xff, 0xff, 0, 0, 0, 0)
	} else {
		segment = binary.BigEndian.AppendUint16(segment, uint16(8+len(to.String())))
		segment = append(append(segment, 0, 0), to.String()...)
	}
	own := netip.MustParseAddr(address4)
	if to.Is6() {
		own = netip.MustParseAddr(address6)
	}
	pseudo := append(append(own.AsSlice(), to.AsSlice()...), 0, protocol)
	pseudo = append(binary.BigEndian.AppendUint16(pseudo, uint16(len(segment))), segment...)
	at := 16
	if protocol == unix.IPPROTO_UDP {
		at = 6
	}
	binary.BigEndian.PutUint16(segment[at:], checksum(pseudo))

	out := append([]byte{0x52, 0x55, 10, 0, 2, 2}, from...) // slirp4netns's own; pasta has no preference
	if to.Is6() {
		out = binary.BigEndian.AppendUint16(append(out, 0x86, 0xdd, 6<<4, 0, 0, 0), uint16(len(segment)))
		out = append(out, protocol, 64)
		return append(append(append(out, own.AsSlice()...), to.AsSlice()...), segment...)
	}
	header := binary.BigEndian.AppendUint16([]byte{4<<4 | 5, 0}, uint16(20+len(segment)))
	header = append(header, 0, 0, 0, 0, 64, protocol, 0, 0)
	header = append(append(header, own.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return append(append(append(out, 0x08, 0x00), header...), segment...)
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
