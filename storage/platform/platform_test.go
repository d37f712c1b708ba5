package platform

import "testing"

func TestFits(t *testing.T) {
	for _, tt := range []struct {
		image, want string
		fits        bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "x86_64", true},
		{"linux/amd64", "linux/arm64", false},
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/arm/v7", "linux/arm", true},
		{"linux/arm/v6", "linux/arm", false},
		{"linux/arm", "linux/arm/v6", false},
		{"linux/riscv64", "linux/riscv64/rva23", true},
		{"darwin/arm64", "linux/arm64", false},
	} {
		image, err := Parse(tt.image)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		if got := image.Fits(want); got != tt.fits {
			t.Errorf("%s for %s: %t", tt.image, tt.want, got)
		}
	}
	if !(Platform{}).Fits(Host()) {
		t.Error("an image that tells nothing does not fit")
	}
}
