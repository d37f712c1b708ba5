//go:build linux

package builder_test

const roleEnv = "OAKUM_TEST_ROLE"

func play(role string) int { return 0 }
