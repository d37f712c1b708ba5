//go:build linux

#include "textflag.h"

// Code of a program of its own, which is never called here (keeper.go). The stack is what the kernel
// gives a new program: the number of arguments, the arguments, and the variables. Below it are 4096 bytes for
// lists of children, a struct sigaction, all signals, those before, those that are awaited, and a status.
TEXT ·keeper(SB), NOSPLIT|NOFRAME, $0-0
	MOVD RSP, R19
	SUB  $4224, RSP, R20
	MOVD R20, RSP

	MOVD $167, R8      // prctl(PR_SET_CHILD_SUBREAPER, 1)
	MOVD $36, R0
	MOVD $1, R1
	SVC
	MOVD ZR, 4096(R20)
	MOVD ZR, 4104(R20)
	MOVD ZR, 4112(R20)
	MOVD ZR, 4120(R20)
	MOVD $134, R8      // rt_sigaction(SIGCHLD, SIG_DFL): else nothing could be waited for
	MOVD $17, R0
	ADD  $4096, R20, R1
	MOVD ZR, R2
	MOVD $8, R3
	SVC
	MOVD $-1, R0
	MOVD R0, 4128(R20)
	MOVD $0x14000, R0  // SIGCHLD and SIGTERM
	MOVD R0, 4144(R20)
	MOVD $135, R8      // rt_sigprocmask(SIG_SETMASK)
	MOVD $2, R0
	ADD  $4128, R20, R1
	ADD  $4136, R20, R2
	MOVD $8, R3
	SVC

	MOVD $220, R8 // clone(SIGCHLD)
	MOVD $17, R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	SVC
	CMP  $0, R0
	BLT  failed
	BEQ  worker
	MOVD R0, R21
	MOVD ZR, R22

files: // are the worker's
	MOVD $57, R8  // close
	MOVD R22, R0
	SVC
	ADD  $1, R22
	CMP  $7, R22
	BNE  files

await:
	MOVD $137, R8      // rt_sigtimedwait
	ADD  $4144, R20, R0
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD $8, R3
	SVC
	CMP  $15, R0
	BEQ  end

dead:
	MOVD $260, R8        // wait4(-1, WNOHANG|__WALL)
	MOVD $-1, R0
	ADD  $4152, R20, R1
	MOVD $0x40000001, R2
	MOVD ZR, R3
	SVC
	CMP  $0, R0
	BLE  await
	CMP  R21, R0
	BNE  dead
	MOVWU 4152(R20), R22
	B    sweep

end:
	MOVD $129, R8 // kill(the worker, SIGKILL)
	MOVD R21, R0
	MOVD $9, R1
	SVC
	MOVD $9, R22

sweep:
	MOVD $56, R8    // openat
	MOVD $-100, R0
	MOVD 16(R19), R1
	MOVD ZR, R2
	SVC
	CMP  $0, R0
	BLT  last       // not on this machine
	MOVD R0, R9
	MOVD ZR, R25
	MOVD $10, R26

list:
	MOVD $63, R8   // read
	MOVD R9, R0
	MOVD R20, R1
	MOVD $4096, R2
	SVC
	CMP  $0, R0
	BLE  listed
	MOVD R20, R23
	ADD  R20, R0, R24

digit:
	CMP   R24, R23
	BEQ   list
	MOVBU (R23), R0
	ADD   $1, R23
	SUB   $48, R0
	CMP   $9, R0
	BHI   number
	MADD  R26, R0, R25, R25 // R25*R26 + R0
	B     digit

number:
	MOVD R25, R0
	MOVD ZR, R25
	CBZ  R0, digit
	MOVD $129, R8 // kill(SIGKILL)
	MOVD $9, R1
	SVC
	B    digit

listed:
	MOVD $57, R8 // close
	MOVD R9, R0
	SVC
	MOVD ZR, R9 // the first one is waited for, which gives the keeper what was below it

rest:
	MOVD  $260, R8        // wait4(-1, __WALL), and then with WNOHANG
	MOVD  $-1, R0
	ADD   $4152, R20, R1
	MOVD  $0x40000000, R2
	ORR   R9, R2
	MOVD  ZR, R3
	SVC
	MOVD  $1, R9
	CMP   R21, R0
	BNE   other
	MOVWU 4152(R20), R22

other:
	CMP $0, R0
	BGT rest
	BEQ sweep
	CMN $4, R0 // EINTR
	BEQ sweep

last:
	MOVD  $260, R8        // wait4(the worker, __WALL)
	MOVD  R21, R0
	ADD   $4152, R20, R1
	MOVD  $0x40000000, R2
	MOVD  ZR, R3
	SVC
	CMP   R21, R0
	BNE   exit
	MOVWU 4152(R20), R22

exit: // as the worker has
	AND  $0x7f, R22, R23
	CBZ  R23, status
	CMP  $9, R23
	BNE  signal
	MOVD $172, R8        // getpid
	SVC
	MOVD $129, R8        // kill
	MOVD $9, R1
	SVC

signal:
	ADD  $128, R23, R0
	MOVD $94, R8       // exit_group
	SVC

status:
	LSR  $8, R22, R0
	AND  $0xff, R0
	MOVD $94, R8     // exit_group
	SVC

worker:
	MOVD $135, R8      // rt_sigprocmask(SIG_SETMASK)
	MOVD $2, R0
	ADD  $4136, R20, R1
	MOVD ZR, R2
	MOVD $8, R3
	SVC
	MOVD $25, R8       // fcntl(5, F_SETFD, FD_CLOEXEC)
	MOVD $5, R0
	MOVD $2, R1
	MOVD $1, R2
	SVC
	MOVD $25, R8       // fcntl(6, F_SETFD, FD_CLOEXEC)
	MOVD $6, R0
	MOVD $2, R1
	MOVD $1, R2
	SVC
	MOVD 24(R19), R0
	ADD  $32, R19, R1
	MOVD (R19), R2
	LSL  $3, R2, R2
	ADD  R19, R2, R2
	ADD  $16, R2
	MOVD $221, R8      // execve
	SVC

failed:
	NEG  R0, R0
	MOVD $69, R1    // 'E'
	MOVB R1, (R20)
	MOVW R0, 1(R20)
	MOVD $64, R8    // write(the socket of the handshake)
	MOVD $3, R0
	MOVD R20, R1
	MOVD $5, R2
	SVC
	MOVD $94, R8    // exit_group
	MOVD $127, R0
	SVC
	BRK  $0

// func keeperCode() uintptr
TEXT ·keeperCode(SB), NOSPLIT|NOFRAME, $0-8
	MOVD $·keeper(SB), R0
	MOVD R0, ret+0(FP)
	RET
