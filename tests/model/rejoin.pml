/* Un-acknowledged writes after a crash: start rule, laundering, return of a brick (A1, A2, A9; I8).
 * 3 converged hosts (host i = brick i), one VM, one shard. The cut (fence.pml) is taken for granted: once a host is
 * fenced nothing of it arrives any more. AFR is modelled by what it promises: quorum, dirty before, blame after, reads
 * from any copy that no reachable brick blames; a heal may choose *any* unblamed copy (worse than "newest ctime").
 * Limits: -DMAXC host crashes, -DMAXB lost bricks of live hosts, -DMAXSITE power losses of the site, -DMAXW guest writes.
 * -DLATEBLAME: AFR as measured: who was down before gets its blame after the acknowledgement; -DUNSETTLED: let in before that, as built.
 * Mutants: -DNOLAUNDER -DNOSTARTRULE -DANYLAUNDER -DGIVEUP -DANYFENCER -DRAWCOPY (with -DCOPIER: a reader of the stopped image);
 * -DESCAPE (un-fenced where nobody has quorum to launder) and -DUNFENCEDIRTY hold without -DLATEBLAME: see README.md;
 * -DLOOKS (with -DCOPIER): the reader launders nothing, but looks whether there is anything to launder;
 * -DREACH: a laundered VM starts while a brick is away; -DUNTILNONE: see README.md */
#ifndef MAXC
#define MAXC 1
#endif
#ifndef MAXB
#define MAXB 0
#endif
#ifndef MAXSITE
#define MAXSITE 0
#endif
#ifndef MAXW
#define MAXW 2
#endif
#define B(x) (1<<(x))
#define ALL 7
/* bricks; what is on disk survives everything */
byte val[3], bl[3];       /* content of the shard; bl[a]: bricks that a blames */
byte dirt = 0, in = ALL;  /* bricks with a dirty count left by a dead client; bricks that clients reach */
byte rb;                  /* the brick that reads prefer (read-hash-mode 1) */
/* hosts */
byte node[3];             /* 0 online 1 dead 2 fenced 3 rejoining 4 dead while rejoining */
byte kid[3];              /* launder child: 0 none 1 has read 2 is writing */
byte lv[3];               /* what the child has read */
/* etcd: own = (host, epoch); vm 0 stopped 1 claimed 2 running; lau: laundered, or stopped in order, since the last crash */
byte own = 0, vm = 2;
bit lau = 1;
/* the one AFR transaction that holds the shard's lock */
byte ph = 0;              /* 0 none 1 data is landing 2 post-op is landing */
byte tc, tv, tm, td, bm;  /* client host, value, target bricks, targets done, bricks to blame */
bit tguest, orphan;       /* of the guest, else of a launder child; the client is dead */
/* what a true disk may answer: the acknowledged value, or an un-acknowledged one of an instance that died */
byte ack = 0, redo = 0, nw = 0;
byte inf = 0;
byte ncrash = 0, nout = 0, nsite = 0;
byte h;
#define IN(b) (in & B(b))
#define TWO(m) ((m)==3 || (m)==5 || (m)==6 || (m)==7)
#define BLAMED(b) ((IN(0) && (bl[0]&B(b))) || (IN(1) && (bl[1]&B(b))) || (IN(2) && (bl[2]&B(b))))
#define RD(b) (IN(b) && !BLAMED(b))
#define GOOD (RD(0) || RD(1) || RD(2))
#define LIVE(b) (node[b]==0 || node[b]==3)
/* who says that a host is out, and acknowledges it, is in good standing itself */
#ifdef ANYFENCER
#define WITNESS(b) LIVE(b)
#else
#define WITNESS(b) (node[b]==0)
#endif
#define COPY ((RD(0) && node[0]!=3) || (RD(1) && node[1]!=3) || (RD(2) && node[2]!=3))  /* A9: not one of a rejoining host */
#define LISTED ((in & dirt) || (IN(0) && bl[0]) || (IN(1) && bl[1]) || (IN(2) && bl[2]))
#define CLEAN (TWO(in) && !LISTED && ph==0)
#define QUIET (redo==0 && !(ph!=0 && tguest))
#define READS(b) (TWO(in) && RD(b) && ((b)==rb || !RD(rb)))
#ifdef UNFENCEDIRTY
#define UNFENCE true
#else
#ifdef ESCAPE
/* without quorum nobody can launder: then the start rule alone has to do */
#define UNFENCE (vm==2 || lau || !TWO(in))
#else
#define UNFENCE (vm==2 || lau)
#endif
#endif
/* docs/evidence/flip.md 2": to AFR it is no failure that a brick is away which was away before */
#ifdef LATEBLAME
#define CUTOFF(b) (!(bm & B(b)) || node[b]==2 || node[b]==3)
#define LATE (CUTOFF(0) && CUTOFF(1) && CUTOFF(2))
#else
#define LATE false
#endif
#if defined(LATEBLAME) && !defined(UNSETTLED)
#define SETTLED (ph==0)
#else
#define SETTLED true
#endif
#ifdef GIVEUP
#define REAPED true
#else
#define REAPED (kid[own]==0)
#endif
#ifdef UNTILNONE
#define DONE false
#else
#define DONE lau
#endif
#ifdef REACH
#define REACHED (in==ALL || !lau)
#else
#define REACHED true
#endif
/* what was once possible and was not seen may not come later */
inline look(b) { assert(val[b]==ack || (inf & B(val[b]))); ack = val[b]; inf = 0 }
inline forget() { ph = 0; tc = 0; tv = 0; tm = 0; td = 0; bm = 0; tguest = 0; orphan = 0 }
/* the dirty counts of the transaction stay where its post-op did not come */
inline leave() { if :: ph==1 -> dirt = dirt | tm :: ph==2 -> dirt = dirt | (tm & ~td) :: else fi }
/* brick b goes away; the transaction loses it */
inline out(b) {
  if :: ph!=0 && (tm & B(b)) ->
        if :: ph==1 || !(td & B(b)) -> dirt = dirt | B(b) :: else fi;
        tm = tm & ~B(b); td = td & ~B(b)
     :: else fi;
  in = in & ~B(b) }
/* QEMU, launder child and mount of x are gone; its packets may still land until the cut */
inline die(x) {
  if :: ph!=0 && tc==x && !orphan -> leave(); orphan = 1;
        if :: tguest && (ph==1 || bm!=0) -> inf = inf | B(tv) :: else fi
     :: else fi;
  kid[x] = 0; lv[x] = 0;
  if :: own==x && vm!=0 -> vm = 0; lau = 0;
        if :: redo!=0 -> inf = inf | B(redo); redo = 0 :: else fi
     :: else fi }
inline begin(x, value, guest) { ph = 1; tc = x; tv = value; tguest = guest; tm = in; td = 0; bm = 0 }
inline cut(x) { if :: orphan && tc==x -> forget() :: else fi }

#define HOST(x) \
 /* nemesis: crash; a quick reboot before anybody fenced it (T10): sockets gone, the brick returns when it likes */ \
 :: d_step { ncrash<MAXC && LIVE(x) -> ncrash++; die(x); out(x); node[x]=node[x]+1 } \
 :: d_step { nout<MAXB && in==ALL -> nout++; out(x) } \
 :: d_step { node[x]==1 || node[x]==4 -> node[x]=node[x]-1; cut(x) } \
 :: d_step { node[x]==0 && !IN(x) -> in=in|B(x) } \
 /* fence: both others in good standing; T9: back, brick still excluded; un-fence; T11 */ \
 :: d_step { (node[x]==1 || node[x]==4) && WITNESS((x+1)%3) && WITNESS((x+2)%3) -> node[x]=2; cut(x) } \
 :: d_step { node[x]==2 -> node[x]=3 } \
 :: d_step { node[x]==3 && !IN(x) && UNFENCE && SETTLED -> in=in|B(x) } \
 :: d_step { node[x]==3 && in==ALL && CLEAN -> node[x]=0 } \
 /* T4 + T5: from a fenced host, or from one that says "stopped here"; also the task for stopped VMs of A9 */ \
 :: d_step { vm==0 && TWO(in) && COPY && node[x]==0 && \
             (node[own]==2 || (LIVE(own) && REAPED)) -> own=x; vm=1; lau=0 } \
 /* a launder child writes back what it read; a child may hang before that for ever */ \
 :: d_step { kid[x]==1 && LIVE(x) && ph==0 && TWO(in) && GOOD -> kid[x]=2; begin(x, lv[x], 0); lv[x]=0 }
#define BRICK(b) \
 LAUNDER(b) \
 :: d_step { vm==2 && QUIET && READS(b) -> look(b) } \
 /* AFR: data and post-op land on each brick alone; heal: all bricks up, lock free, from any unblamed copy */ \
 :: d_step { ph==1 && (tm & B(b)) && !(td & B(b)) -> val[b]=tv; td=td|B(b) } \
 :: d_step { ph==2 && (tm & B(b)) && !(td & B(b)) -> bl[b]=bl[b]|bm; td=td|B(b) } \
 :: d_step { in==ALL && ph==0 && LISTED && (RD(b) || !GOOD) -> \
             val[0]=val[b]; val[1]=val[b]; val[2]=val[b]; bl[0]=0; bl[1]=0; bl[2]=0; dirt=0 }
/* by the owner, before QEMU */
#ifdef NOLAUNDER
#define LAUNDER(b) :: d_step { vm==1 && !lau && LISTED && READS(b) -> lau=1 }
#else
#define LAUNDER(b) :: d_step { vm==1 && !lau && LISTED && kid[own]==0 && READS(b) -> lv[own]=val[b]; kid[own]=1 }
#endif
#define ANY(x, b) :: d_step { node[x]==0 && kid[x]==0 && (in & dirt) && READS(b) -> lv[x]=val[b]; kid[x]=1 }
/* reads the image of a stopped VM (export, clone): under the start rule too, or (mutant) as it is */
#ifdef RAWCOPY
#define COPIES(b) :: d_step { vm==0 && ph==0 && (node[own]==0 || node[own]==2) && READS(b) -> look(b) }
#else
#ifdef LOOKS
/* only looks: nothing that counts is dirty, and nobody that counts accuses another that does */
#define ACCUSED(a) (IN(a) && (bl[a] & in))
#define COPIES(b) :: d_step { vm==0 && node[own]==0 && !(in & dirt) && !ACCUSED(0) && !ACCUSED(1) && !ACCUSED(2) && READS(b) -> \
                              look(b) }
#else
#define COPIES(b) :: d_step { vm==0 && node[own]==0 && (lau || CLEAN) && READS(b) -> look(b) }
#endif
#endif

init {
 if :: rb = 0 :: rb = 1 :: rb = 2 fi;
 do
 HOST(0) HOST(1) HOST(2)
 BRICK(0) BRICK(1) BRICK(2)
 :: d_step { nsite<MAXSITE -> nsite++; die(0); die(1); die(2); out(0); out(1); out(2); forget() }
#ifdef GIVEUP
 :: d_step { vm==1 && kid[own]==1 -> vm=0 }                        /* its child hangs; it says "stopped" without a fence */
#endif
#ifdef ANYLAUNDER
 ANY(0,0) ANY(0,1) ANY(0,2) ANY(1,0) ANY(1,1) ANY(1,2) ANY(2,0) ANY(2,1) ANY(2,2)
#endif
#ifdef COPIER
 COPIES(0) COPIES(1) COPIES(2)
#endif
 /* the start rule: laundered by me in this epoch, child reaped; or nothing listed on two bricks (also by a heal) */
#ifdef NOSTARTRULE
 :: d_step { vm==1 && TWO(in) -> vm=2 }
#else
 :: d_step { vm==1 && kid[own]==0 && TWO(in) && (DONE || CLEAN) -> assert(REACHED); vm=2 }
#endif
 :: d_step { vm==1 && kid[own]==0 && (lau || CLEAN) -> vm=0; lau=1 }   /* stays stopped */
 :: d_step { vm==2 && QUIET -> vm=0; lau=1 }                           /* stopped in order */
 /* the guest writes */
 :: d_step { vm==2 && ph==0 && TWO(in) && GOOD && redo!=0 -> begin(own, redo, 1); redo=0 }
 :: d_step { vm==2 && ph==0 && TWO(in) && GOOD && redo==0 && nw<MAXW -> nw++; begin(own, nw, 1) }
 /* landed on all targets, a good copy among them (AFR's in_flight_sb); nothing failed: acknowledged before the post-op */
 :: d_step { ph==1 && !orphan && td==tm && TWO(tm) && ((RD(0) && (tm&1)) || (RD(1) && (tm&2)) || (RD(2) && (tm&4))) ->
      bm=ALL & ~tm; ph=2; td=0;
      if :: tguest && (bm==0 || LATE) -> ack=tv; inf=0 :: else fi }
 :: d_step { ph==2 && !orphan && td==tm && (TWO(tm) || bm==0) ->
      if :: tguest -> ack=tv; inf=0
         :: else -> kid[tc]=0; if :: tc==own && vm==1 -> lau=1 :: else fi fi;
      forget() }
 :: d_step { ph!=0 && !orphan && !TWO(tm) && !(ph==2 && bm==0) -> leave();   /* no quorum: the guest is paused and repeats it */
      if :: tguest -> redo=tv :: else -> kid[tc]=0 fi;
      forget() }
 od
}
