/* Restart of mortar-guard at the fencers while a fence runs (A3, 3.3). Host H (also a brick host) runs one VM; fencers
 * 0 and 1 are the other two: H needs the promise of one of them (its own counts too), a fence needs the acks of both.
 * A guard forgets everything but the fence records when it restarts, at any moment, at most -DMAXR times in all.
 * Mutants: -DFORGET (does not read the records), -DNOGRACE (no wait for P after its own start), -DNOWAIT (the denial
 * counts at once), -DOLDANSWER (the agent counts P itself from any instance's "denied"; with -DLATERECORD, where
 * the record is written after the denial). -DREACH: a fence across a restart completes. */
#define P 2
#ifndef MAXR
#define MAXR 2
#endif
/* guards */
byte inst[2];             /* instance */
bit den[2];               /* denied, in memory */
byte dt[2], gr[2];        /* P since the denial; P since its own start */
/* agents of the fencers */
bit rec[2];               /* fence record, fsynced */
byte msg[2];              /* last answer of a guard: instance + 1 */
byte at[2];               /* OLDANSWER: P since that answer */
bit ok[2];                /* decided to acknowledge (check-then-act) */
bit ack[2];               /* in etcd */
/* etcd, H */
bit fencing = 0, started = 0, frozen = 0;
byte nt[2];               /* H's promise timers */
byte nr = 0;
#define HOLD (nt[0]>0 || nt[1]>0)
#ifdef LATERECORD
#define MAYDENY(b) true
#define RECORD(b) (fencing && den[b])
#else
#define MAYDENY(b) rec[b]
#define RECORD(b) fencing
#endif
#ifdef FORGET
#define RELOAD(b) 0
#else
#define RELOAD(b) rec[b]
#endif
#ifdef NOGRACE
#define GRACE 0
#else
#define GRACE P
#endif
#ifdef NOWAIT
#define WAIT 0
#else
#define WAIT P
#endif
#ifdef OLDANSWER
#define OVER(b) true
#define SAME(b) (at[b]==0)
#define COUNT(b) if :: msg[b]==0 -> at[b]=P :: else fi
#else
#define OVER(b) (dt[b]==0 && gr[b]==0)
#define SAME(b) (msg[b]==inst[b]+1)
#define COUNT(b) skip
#endif
#ifdef REACH
#define REACHED assert(nr<MAXR)
#else
#define REACHED skip
#endif
inline dec(x) { if :: x>0 -> x-- :: else fi }
#define FENCER(b) \
 /* H asks, the guard grants */ \
 :: d_step { !den[b] -> nt[b]=P-1 } \
 :: d_step { nr<MAXR -> nr++; inst[b]++; den[b]=RELOAD(b); dt[b]=0; gr[b]=GRACE } \
 /* agent: record, denial (again, if an instance does not know it), answer, check, acknowledgement: each a step */ \
 :: d_step { RECORD(b) && !rec[b] -> rec[b]=1 } \
 :: d_step { fencing && MAYDENY(b) && !den[b] -> den[b]=1; dt[b]=WAIT } \
 :: d_step { fencing && den[b] && OVER(b) && msg[b]!=inst[b]+1 -> COUNT(b); msg[b]=inst[b]+1 } \
 :: d_step { msg[b]!=0 && SAME(b) && rec[b] && !ok[b] -> ok[b]=1 } \
 :: d_step { ok[b] && !ack[b] -> ack[b]=1 }
init {
 nt[0]=P-1; nt[1]=P-1;
 do
 /* time; H freezes before the next tick */
 :: d_step { frozen || HOLD -> dec(nt[0]); dec(nt[1]); dec(dt[0]); dec(dt[1]); dec(gr[0]); dec(gr[1]); dec(at[0]); dec(at[1]) }
 :: d_step { !frozen && !HOLD -> frozen=1 }
 :: d_step { frozen && HOLD -> frozen=0; assert(!started) }           /* S3, and: never thawed after the fence */
 :: d_step { !fencing -> fencing=1 }
 :: d_step { ack[0] && ack[1] && !started -> started=1; REACHED; assert(frozen) }
 FENCER(0) FENCER(1)
 od
}
