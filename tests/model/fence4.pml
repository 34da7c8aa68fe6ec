/* As fence.pml, with 3 brick hosts (0, 1, 2) and a compute-only owner (3). S1 and, with -DS3, S3.
 * A fence of x is complete with acks of at least 2 brick hosts, and every other brick host acked or is fenced itself.
 * Brick hosts are alike, so only host 2 of them is ever fenced beside the owner, and new owners are 0 or 2.
 * Knobs: -DMAXE -DMAXPAUSE -DMAXPART -DS3 -DWATCHDOG -DREACH=epoch -DREACHTHIRD (the owner's fence complete with
 * brick host 2 fenced instead of its ack); mutants: -DTWOACKS (2 acks do, the third brick alive), -DNODROP,
 * -DOPENBOOT (a brick host that rejoins does not close itself towards hosts that are not online) */
#define N 4
#define P 2
#ifndef MAXE
#define MAXE 2
#endif
#ifndef MAXPAUSE
#define MAXPAUSE 0
#endif
#ifndef MAXPART
#define MAXPART 1
#endif
/* etcd */
byte nst[N];              /* 0 online 1 fencing 2 fenced */
byte ack[N];              /* ack[x]: bitmask of fencers */
byte owner = 3, epoch = 1;
/* fencers */
byte seen[3];             /* seen[b]: hosts b knows to be under fencing: no more promises */
byte drop[3];             /* drop[b]: hosts whose traffic b drops */
byte pt[12];              /* promise timer at fencer b for host x: pt[b*4+x] */
/* hosts */
byte nt[12];              /* promise timer at host x from fencer b: nt[x*3+b] */
bit frozen[N], paused[N];
byte vm[N], pend[N];      /* epoch of the QEMU; epoch the agent has decided to start */
byte fl[12];              /* in-flight write x->b: epoch: fl[x*3+b] */
bit cutE[N], cutS[N];     /* cut from etcd; from the storage network */
bit excl[3];              /* brick excluded: will only ever be a heal sink */
byte started = 1, npause = 0, npart = 0;
byte i;
#define B(x) (1<<(x))
/* 2 of 3 promises; a brick host's own counts */
#define PR(x,b) (nt[(x)*3+(b)]>0 || (x)==(b))
#define HOLD(x) (PR(x,0)+PR(x,1)+PR(x,2) >= 2)
#define LINK(a,b) ((a)==(b) || (!cutS[a] && !cutS[b]))
#define ACTIVE(x) (vm[x]!=0 && !frozen[x] && !paused[x])
#define LATE(x) (ACTIVE(x) && !HOLD(x))
#define ACK(x,b) ((ack[x] & B(b))!=0)
#define CLOSED(x,b) ((x)==(b) || ACK(x,b) || nst[b]==2)
#ifdef TWOACKS
#define COMPLETE(x) (ACK(x,0)+ACK(x,1)+ACK(x,2) >= 2)
#else
#define COMPLETE(x) (ACK(x,0)+ACK(x,1)+ACK(x,2) >= 2 && CLOSED(x,0) && CLOSED(x,1) && CLOSED(x,2))
#endif
#ifdef NODROP
#define DROP(x,b)
#else
#define DROP(x,b) drop[b]=drop[b]|B(x)
#endif
#ifdef OPENBOOT
#define BOOT(b)
#else
/* boots closed: open only towards hosts that are online in the transaction that makes it online; no old connection */
#define BOOT(b) seen[b]=seen[b]|OFF; drop[b]=drop[b]|OFF
#endif
#define OFF ((nst[0]!=0)*1 + (nst[1]!=0)*2 + (nst[2]!=0)*4 + (nst[3]!=0)*8)
#define NONE(x) (fl[(x)*3]==0 && fl[(x)*3+1]==0 && fl[(x)*3+2]==0)
inline dec(x) { if :: x>0 -> x-- :: else fi }
inline reset(x) { vm[x]=0; pend[x]=0; frozen[x]=0; fl[x*3]=0; fl[x*3+1]=0; fl[x*3+2]=0 }
#ifdef WATCHDOG
#define REVIVE(x) if :: vm[x]!=0 && !HOLD(x) -> reset(x) :: else fi;
#else
#define REVIVE(x)
#endif

/* one host */
#define HOST(x) \
 :: d_step { !paused[x] && npause<MAXPAUSE -> paused[x]=1; npause++ } \
 :: d_step { paused[x] -> REVIVE(x) paused[x]=0 } \
 :: d_step { !cutE[x] && npart<MAXPART -> cutE[x]=1; npart++ } \
 :: d_step { cutE[x] -> cutE[x]=0 } \
 :: d_step { !cutS[x] && npart<MAXPART -> cutS[x]=1; npart++ } \
 :: d_step { cutS[x] -> cutS[x]=0 } \
 :: d_step { nst[x]==1 && COMPLETE(x) -> nst[x]=2; EXCLUDE(x) REACHED(x) } \
 :: d_step { !paused[x] && !cutE[x] && owner==x && nst[x]==0 && vm[x]==0 && pend[x]==0 && epoch>started -> pend[x]=epoch } \
 :: d_step { !paused[x] && pend[x]!=0 && vm[x]==0 && HOLD(x) -> vm[x]=pend[x]; pend[x]=0; \
             if :: vm[x]>started -> started=vm[x] :: else fi } \
 :: d_step { !paused[x] && vm[x]!=0 && !frozen[x] && !HOLD(x) -> frozen[x]=1 } \
 :: d_step { !paused[x] && frozen[x] && HOLD(x) -> frozen[x]=0 } \
 :: d_step { !paused[x] && !cutE[x] && vm[x]!=0 && (nst[x]!=0 || owner!=x || epoch!=vm[x]) -> vm[x]=0; frozen[x]=0 } \
 :: d_step { ACTIVE(x) -> fl[x*3]=vm[x]; fl[x*3+1]=vm[x]; fl[x*3+2]=vm[x] } \
 LAND(x,0) LAND(x,1) LAND(x,2)
/* delivery, also from dead or paused hosts; S1 */
#define LAND(x,b) \
 :: d_step { fl[x*3+b]!=0 && (drop[b]&B(x)) -> fl[x*3+b]=0 } \
 :: d_step { fl[x*3+b]!=0 && !(drop[b]&B(x)) && LINK(x,b) -> assert(!(fl[x*3+b]<started && !excl[b])); fl[x*3+b]=0 }
/* fencer b and host x */
#define PAIR(x,b) \
 :: d_step { !paused[x] && !paused[b] && LINK(x,b) && !(seen[b]&B(x)) && (vm[x]!=0 || pend[x]!=0) -> pt[b*4+x]=P; nt[x*3+b]=P-1 } \
 :: d_step { !paused[b] && !cutE[b] && nst[x]!=0 && !(seen[b]&B(x)) -> seen[b]=seen[b]|B(x); DROP(x,b) } \
 :: d_step { !paused[b] && !cutE[b] && nst[x]==1 && (seen[b]&B(x)) && !(ack[x]&B(b)) && pt[b*4+x]==0 -> ack[x]=ack[x]|B(b) } \
 :: d_step { !paused[b] && !cutE[b] && nst[x]==0 && (seen[b]&B(x)) -> seen[b]=seen[b]&~B(x); drop[b]=drop[b]&~B(x) }
/* false suspicion at any moment; take over */
#define SUSPECT(x,b) :: d_step { nst[x]==0 && !paused[b] && !cutE[b] && nst[b]==0 -> nst[x]=1 }
#define TAKE(b) :: d_step { nst[owner]==2 && owner!=b && nst[b]==0 && epoch<MAXE -> owner=b; epoch++ }
/* rejoin: nothing runs, nothing is in flight */
#define REJOIN(x, boot) :: d_step { !paused[x] && !cutE[x] && nst[x]==2 && owner!=x && vm[x]==0 && NONE(x) -> \
                        nst[x]=0; ack[x]=0; pend[x]=0; frozen[x]=0; boot }
#define EXCLUDE(x) if :: x==2 -> excl[2]=1 :: else fi;
#ifdef REACHTHIRD
#define REACHED(x) assert(!(x==3 && nst[2]==2 && !ACK(3,2)))
#else
#define REACHED(x) skip
#endif

init {
 d_step { vm[3]=1; nt[9]=P-1; nt[10]=P-1; nt[11]=P-1; pt[3]=P; pt[7]=P; pt[11]=P }
 do
 /* time; a running watcher freezes before the next tick */
 :: d_step { !LATE(0) && !LATE(2) && !LATE(3) -> i=0; do :: i<12 -> dec(pt[i]); dec(nt[i]); i++ :: else -> break od; i=0 }
 HOST(0) HOST(2) HOST(3)
 /* host 1 is a fencer only: it may be cut from etcd or storage, or hang */
 :: d_step { !paused[1] && npause<MAXPAUSE -> paused[1]=1; npause++ }
 :: d_step { paused[1] -> paused[1]=0 }
 :: d_step { !cutE[1] && npart<MAXPART -> cutE[1]=1; npart++ }
 :: d_step { cutE[1] -> cutE[1]=0 }
 :: d_step { !cutS[1] && npart<MAXPART -> cutS[1]=1; npart++ }
 :: d_step { cutS[1] -> cutS[1]=0 }
 PAIR(3,0) PAIR(3,1) PAIR(3,2) PAIR(2,0) PAIR(2,1) PAIR(0,1) PAIR(0,2)
 SUSPECT(3,0) SUSPECT(3,1) SUSPECT(3,2) SUSPECT(2,0) SUSPECT(2,1)
 TAKE(0) TAKE(2)
#ifndef NOREJOIN
 REJOIN(3, skip) REJOIN(2, excl[2]=0; BOOT(2))
#endif
#ifdef S3
 :: d_step { ACTIVE(0)+ACTIVE(2)+ACTIVE(3)>1 -> assert(false) }
#endif
#ifdef REACH
 :: d_step { started>=REACH -> assert(false) }
#endif
 od
}
